// Arithmetic on one cache-sized block, compiled for several instruction sets and chosen at run time.
//
// A block is a few KiB of one tensor, so the intermediate values stay in the first-level cache. Every function does
// its additions in an order fixed by the source, so a result depends on the instruction set but never on alignment,
// thread count or repetition.
//
// What differs between channels (coefficients, sums) is periodic: element j of a block uses entry j mod period of an
// array, so that vector code needs no index arithmetic. The period is 1 (one channel) or a multiple of kPeriodStep.
#pragma once

#include <cstdint>

namespace ddarts {

// Elements of one block: input, output, accumulator and the next input's prefetched block, of float32, fill 32 KiB.
constexpr int64_t kBlock = 2048;
// Elements of one step of the vector code: four vectors of 32 bytes of float32 (of float64, half of that).
constexpr int64_t kPeriodStep = 32;

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// n <= kBlock elements; `next` is what the caller reads next (any address: it is only prefetched). `stream` writes
// around the caches where `out` is aligned for that; the bits are the same.
template <typename Real>
struct RealBlocks {
  // out[j] = scale[j] x[j]
  void (*scale)(Real* out, const Real* x, const Real* scale, int64_t period, int64_t n, const void* next, bool stream);
  // out[j] = sum[j] + scale[j] (x[j] - mean[j]); out may be sum
  void (*add)(Real* out, const Real* sum, const Real* x, const Real* scale, const Real* mean, int64_t period, int64_t n,
              const void* next, bool stream);
  // out[j] = scale[j] grad[j] + (slope[j] (x[j] - mean[j]) + shift[j])
  void (*gradient)(Real* out, const Real* grad, const Real* x, const Real* scale, const Real* slope, const Real* mean,
                   const Real* shift, int64_t period, int64_t n, const void* next, bool stream);
  // sums[j] += x[j]
  void (*total)(double* sums, const Real* x, int64_t period, int64_t n);
  // sums[j] += grad[j] (x[j] - mean[j])
  void (*dot)(double* sums, const Real* grad, const Real* x, const Real* mean, int64_t period, int64_t n,
              const void* next);
  // first[j] += x[j] - shift[j], second[j] += (x[j] - shift[j])^2
  void (*moments)(double* first, double* second, const Real* x, const Real* shift, int64_t period, int64_t n,
                  const void* next);
};

struct Blocks {
  RealBlocks<float> f32;
  RealBlocks<double> f64;
  void (*load_bf16)(float* out, const Bfloat16* x, int64_t n);
  void (*store_bf16)(Bfloat16* out, const float* x, int64_t n);
  void (*load_f16)(float* out, const Float16* x, int64_t n);
  void (*store_f16)(Float16* out, const float* x, int64_t n);
  void (*finish_streams)();  // after `stream`, before another thread reads
};

// The table for chosen_capability(), decided at the first call.
const Blocks& blocks();

}  // namespace ddarts
