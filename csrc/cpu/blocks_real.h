// Included by blocks.cpp once per instruction set and per DDARTS_REAL, inside a namespace: no include guard, and
// neither templates nor inline functions of the standard library, which the linker would share between variants.
// Vectors of 32 bytes are written out: the order of the additions is then the source's, whatever the compiler does.

typedef DDARTS_REAL Vector __attribute__((vector_size(32)));
typedef DDARTS_REAL Unaligned __attribute__((vector_size(32), aligned(sizeof(DDARTS_REAL)), may_alias));
constexpr int64_t kLanes = 32 / sizeof(DDARTS_REAL);

// The two cache lines that a step of four vectors covers, at the same distance from `next`.
#define DDARTS_PREFETCH(next, j)                                                                        \
  __builtin_prefetch(static_cast<const char*>(next) + (j) * static_cast<int64_t>(sizeof(DDARTS_REAL))); \
  __builtin_prefetch(static_cast<const char*>(next) + (j) * static_cast<int64_t>(sizeof(DDARTS_REAL)) + 64)

static void scale(DDARTS_REAL* out, const DDARTS_REAL* x, DDARTS_REAL w, int64_t n, const void* next) {
  int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    const Unaligned* a = reinterpret_cast<const Unaligned*>(x + j);
    Unaligned* o = reinterpret_cast<Unaligned*>(out + j);
    DDARTS_PREFETCH(next, j);
    o[0] = w * a[0];
    o[1] = w * a[1];
    o[2] = w * a[2];
    o[3] = w * a[3];
  }
  for (; j < n; ++j) out[j] = w * x[j];
}

static void add_scaled(DDARTS_REAL* out, const DDARTS_REAL* x, DDARTS_REAL w, int64_t n, const void* next) {
  int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    const Unaligned* a = reinterpret_cast<const Unaligned*>(x + j);
    Unaligned* o = reinterpret_cast<Unaligned*>(out + j);
    DDARTS_PREFETCH(next, j);
    const Vector sum0 = o[0] + w * a[0];
    const Vector sum1 = o[1] + w * a[1];
    const Vector sum2 = o[2] + w * a[2];
    const Vector sum3 = o[3] + w * a[3];
    o[0] = sum0;
    o[1] = sum1;
    o[2] = sum2;
    o[3] = sum3;
  }
  for (; j < n; ++j) out[j] += w * x[j];
}

// Four accumulators hide the latency of the addition; the lanes are summed in double at the end of the block, so no
// lane ever holds more than kBlock / 32 products in float32.
static double dot(const DDARTS_REAL* x, const DDARTS_REAL* y, int64_t n, const void* next) {
  Vector sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {};
  int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    const Unaligned* a = reinterpret_cast<const Unaligned*>(x + j);
    const Unaligned* b = reinterpret_cast<const Unaligned*>(y + j);
    DDARTS_PREFETCH(next, j);
    sum0 += a[0] * b[0];
    sum1 += a[1] * b[1];
    sum2 += a[2] * b[2];
    sum3 += a[3] * b[3];
  }
  double total = 0.0;
  for (; j < n; ++j) total += static_cast<double>(x[j]) * static_cast<double>(y[j]);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    total += (static_cast<double>(sum0[lane]) + static_cast<double>(sum1[lane])) +
             (static_cast<double>(sum2[lane]) + static_cast<double>(sum3[lane]));
  }
  return total;
}
#undef DDARTS_PREFETCH
