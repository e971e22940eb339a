// Arithmetic of the pools on runs of channels-last values, compiled for several instruction sets and chosen at run time
// (see blocks.h). A window has up to 9 taps, numbered 0 ... 8 in row-major order.
#pragma once

#include <cstdint>

namespace ddarts {

constexpr int kTaps = 9;

// The pixels of a window that lie in the image: where their values begin, and their numbers, ascending.
template <typename Real>
struct Window {
  const Real* at[kTaps];
  uint8_t number[kTaps];
  int count;
};

template <typename Real>
struct PoolRows {
  // Maximum (the first of equals; a NaN is larger than everything), its number, and average of n windows side by side.
  void (*pool)(Real* most, Real* average, uint8_t* index, const Window<Real>& window, int64_t n);
  // sum[c] += sum of x[p, c] - shift[c], square[c] += sum of its square, over `pixels` of C channels.
  void (*moments)(double* sum, double* square, const Real* x, const Real* shift, int64_t pixels, int64_t channels);
  // most[p, c] = sum_e lines[0, e, c] grads[e][p, c] + lines[0, E, c] most_y[p, c] + lines[0, E + 1, c], and the same
  // of average with lines[1], divided by size[p].
  void (*slopes)(Real* most, Real* average, const Real* const* grads, int64_t edges, const Real* most_y,
                 const Real* average_y, const Real* lines, const Real* size, int64_t pixels, int64_t channels);
  // out[j] += average[j], and most[j] where index[j] is `number`.
  void (*spread)(Real* out, const Real* most, const Real* average, const uint8_t* index, uint8_t number, int64_t n);
};

// The functions for chosen_capability(), decided at the first call; Real is float or double.
template <typename Real>
const PoolRows<Real>& pool_rows();

}  // namespace ddarts
