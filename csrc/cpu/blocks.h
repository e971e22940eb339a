// Arithmetic on one cache-sized block, compiled for several instruction sets and chosen at run time.
//
// A block is a few KiB of one tensor, so the intermediate values stay in the first-level cache. Every function does
// its additions in an order fixed by the source, so a result depends on the instruction set but never on alignment,
// thread count or repetition.
#pragma once

#include <cstdint>

namespace ddarts {

// Elements of one block: two float32 blocks (value and accumulator) fill 16 KiB, half of a first-level cache.
constexpr int64_t kBlock = 2048;

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <typename Real>
struct RealBlocks {
  void (*scale)(Real* out, const Real* x, Real w, int64_t n, const void* next);       // out[j] = w x[j]
  void (*add_scaled)(Real* out, const Real* x, Real w, int64_t n, const void* next);  // out[j] += w x[j]
  double (*dot)(const Real* x, const Real* y, int64_t n, const void* next);           // sum of x[j] y[j], n <= kBlock
};

struct Blocks {
  RealBlocks<float> f32;
  RealBlocks<double> f64;
  void (*load_bf16)(float* out, const Bfloat16* x, int64_t n);
  void (*store_bf16)(Bfloat16* out, const float* x, int64_t n);
  void (*load_f16)(float* out, const Float16* x, int64_t n);
  void (*store_f16)(Float16* out, const float* x, int64_t n);
};

// The table for chosen_capability(), decided at the first call.
const Blocks& blocks();

}  // namespace ddarts
