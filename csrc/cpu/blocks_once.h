// Included by blocks.cpp once per instruction set, inside a namespace (see blocks_real.h): the end of streamed stores,
// 16-bit storage to float32 and back. DDARTS_AVX says that the processor's float16 conversions (F16C) may be used.

static void finish_streams() {
#if DDARTS_AVX
  _mm_sfence();
#endif
}

static void load_bf16(float* __restrict out, const Bfloat16* __restrict x, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    const uint32_t bits = static_cast<uint32_t>(x[j].bits) << 16;
    __builtin_memcpy(&out[j], &bits, sizeof(bits));
  }
}

// Round to nearest, ties to even; a NaN stays a (quiet) NaN. Written without branches so that it vectorises.
static void store_bf16(Bfloat16* __restrict out, const float* __restrict x, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x[j], sizeof(bits));
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x0040u;
    out[j].bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
}

static void load_f16(float* __restrict out, const Float16* __restrict x, int64_t n) {
  int64_t j = 0;
#if DDARTS_AVX
  for (; j + 8 <= n; j += 8) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + j));
    _mm256_storeu_ps(out + j, _mm256_cvtph_ps(packed));
  }
#endif
  for (; j < n; ++j) out[j] = c10::detail::fp16_ieee_to_fp32_value(x[j].bits);
}

static void store_f16(Float16* __restrict out, const float* __restrict x, int64_t n) {
  int64_t j = 0;
#if DDARTS_AVX
  for (; j + 8 <= n; j += 8) {
    const __m128i packed = _mm256_cvtps_ph(_mm256_loadu_ps(x + j), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + j), packed);
  }
#endif
  for (; j < n; ++j) out[j].bits = c10::detail::fp16_ieee_from_fp32_value(x[j]);
}
