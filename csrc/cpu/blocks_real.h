// Included by blocks.cpp once per instruction set and per DDARTS_REAL, inside a namespace: no include guard, and
// neither templates nor inline functions of the standard library, which the linker would share between variants.
// Vectors of 32 bytes are written out: the order of the additions is then the source's, whatever the compiler does.
// DDARTS_AVX says that the variant may use the processor's 32-byte stores around the caches.
//
// `constant` (period 1) and `stream` are literals wherever an inlined function is called, so each case has its loop.

typedef DDARTS_REAL Vector __attribute__((vector_size(32)));
typedef DDARTS_REAL Unaligned __attribute__((vector_size(32), aligned(sizeof(DDARTS_REAL)), may_alias));
constexpr int64_t kLanes = 32 / sizeof(DDARTS_REAL);
constexpr int64_t kStep = 4 * kLanes;
static_assert(kPeriodStep % kStep == 0, "a step must not cross the end of a period");

#define DDARTS_INLINE static inline __attribute__((always_inline))
#define DDARTS_LOAD(x) (*reinterpret_cast<const Unaligned*>(x))
// The coefficients of one vector: one number for all (minus zero keeps its sign), or a stretch of the period.
#define DDARTS_COEFFICIENTS(x, lane) (constant ? (x)[0] - Vector{} : DDARTS_LOAD((x) + (lane)))

// The two cache lines that a step of four vectors covers, at the same distance from `next`.
DDARTS_INLINE void prefetch(const void* next, int64_t j) {
  const char* line = static_cast<const char*>(next) + j * static_cast<int64_t>(sizeof(DDARTS_REAL));
  __builtin_prefetch(line);
  __builtin_prefetch(line + 64);
}

DDARTS_INLINE void store(DDARTS_REAL* out, const Vector& value, const bool stream) {
#if DDARTS_AVX
  if (stream) return _mm256_stream_si256(reinterpret_cast<__m256i*>(out), reinterpret_cast<const __m256i&>(value));
#endif
  (void)stream;
  *reinterpret_cast<Unaligned*>(out) = value;
}

DDARTS_INLINE bool aligned(const DDARTS_REAL* out) {
  return reinterpret_cast<uintptr_t>(out) % 32 == 0;
}

// Where the period stands after one step.
DDARTS_INLINE int64_t advance(int64_t lane, int64_t period, const bool constant) {
  return constant || lane + kStep == period ? 0 : lane + kStep;
}

#define DDARTS_CASES(function, ...)                        \
  if (period == 1) {                                       \
    if (stream && aligned(out)) {                          \
      function(__VA_ARGS__, period, n, next, true, true);  \
    } else {                                               \
      function(__VA_ARGS__, period, n, next, true, false); \
    }                                                      \
  } else if (stream && aligned(out)) {                     \
    function(__VA_ARGS__, period, n, next, false, true);   \
  } else {                                                 \
    function(__VA_ARGS__, period, n, next, false, false);  \
  }

DDARTS_INLINE void scale_case(DDARTS_REAL* out, const DDARTS_REAL* x, const DDARTS_REAL* scale, int64_t period,
                              int64_t n, const void* next, const bool constant, const bool stream) {
  int64_t j = 0, lane = 0;
  for (; j + kStep <= n; j += kStep) {
    prefetch(next, j);
    for (int64_t v = 0; v < kStep; v += kLanes) {
      store(out + j + v, DDARTS_COEFFICIENTS(scale, lane + v) * DDARTS_LOAD(x + j + v), stream);
    }
    lane = advance(lane, period, constant);
  }
  for (; j < n; ++j, lane += !constant) out[j] = scale[lane] * x[j];
}

static void scale(DDARTS_REAL* out, const DDARTS_REAL* x, const DDARTS_REAL* scale, int64_t period, int64_t n,
                  const void* next, bool stream){DDARTS_CASES(scale_case, out, x, scale)}

DDARTS_INLINE void add_case(DDARTS_REAL* out, const DDARTS_REAL* sum, const DDARTS_REAL* x, const DDARTS_REAL* scale,
                            const DDARTS_REAL* mean, int64_t period, int64_t n, const void* next, const bool constant,
                            const bool stream) {
  int64_t j = 0, lane = 0;
  for (; j + kStep <= n; j += kStep) {
    prefetch(next, j);
    for (int64_t v = 0; v < kStep; v += kLanes) {
      const Vector centred = DDARTS_LOAD(x + j + v) - DDARTS_COEFFICIENTS(mean, lane + v);
      store(out + j + v, DDARTS_LOAD(sum + j + v) + DDARTS_COEFFICIENTS(scale, lane + v) * centred, stream);
    }
    lane = advance(lane, period, constant);
  }
  for (; j < n; ++j, lane += !constant) out[j] = sum[j] + scale[lane] * (x[j] - mean[lane]);
}

static void add(DDARTS_REAL* out, const DDARTS_REAL* sum, const DDARTS_REAL* x, const DDARTS_REAL* scale,
                const DDARTS_REAL* mean, int64_t period, int64_t n, const void* next,
                bool stream){DDARTS_CASES(add_case, out, sum, x, scale, mean)}

DDARTS_INLINE
    void gradient_case(DDARTS_REAL* out, const DDARTS_REAL* grad, const DDARTS_REAL* x, const DDARTS_REAL* scale,
                       const DDARTS_REAL* slope, const DDARTS_REAL* mean, const DDARTS_REAL* shift, int64_t period,
                       int64_t n, const void* next, const bool constant, const bool stream) {
  int64_t j = 0, lane = 0;
  for (; j + kStep <= n; j += kStep) {
    prefetch(next, j);
    for (int64_t v = 0; v < kStep; v += kLanes) {
      const Vector centred = DDARTS_LOAD(x + j + v) - DDARTS_COEFFICIENTS(mean, lane + v);
      const Vector through = DDARTS_COEFFICIENTS(slope, lane + v) * centred + DDARTS_COEFFICIENTS(shift, lane + v);
      store(out + j + v, DDARTS_COEFFICIENTS(scale, lane + v) * DDARTS_LOAD(grad + j + v) + through, stream);
    }
    lane = advance(lane, period, constant);
  }
  for (; j < n; ++j, lane += !constant) {
    out[j] = scale[lane] * grad[j] + (slope[lane] * (x[j] - mean[lane]) + shift[lane]);
  }
}

static void gradient(DDARTS_REAL* out, const DDARTS_REAL* grad, const DDARTS_REAL* x, const DDARTS_REAL* scale,
                     const DDARTS_REAL* slope, const DDARTS_REAL* mean, const DDARTS_REAL* shift, int64_t period,
                     int64_t n, const void* next, bool stream) {
  DDARTS_CASES(gradient_case, out, grad, x, scale, slope, mean, shift)
}

#undef DDARTS_CASES
