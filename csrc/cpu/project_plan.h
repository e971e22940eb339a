// What the kernels of project and project_backward do: plain data, free of torch and of instruction sets.
//
// Legend: E edges, P parts, N images in G groups, H, W pixels of x, h, w of y, I channels of x, O of y, o = O / P those
// of a part, L lanes of a vector. A tile is a few pixels; its outputs are the o channels of all edges, side by side and
// padded to whole vectors: `width`.
#pragma once

#include <cstdint>

namespace ddarts {

struct ProjectShape {
  int64_t edges, parts, images, groups, height, width, inputs, outputs, stride;  // E, P, N, G, H, W, I, O
  int64_t out_height, out_width;                                                 // h, w

  int64_t part_outputs() const { return outputs / parts; }
  int64_t columns() const { return edges * part_outputs(); }  // outputs of a tile
  int64_t out_pixels() const { return out_height * out_width; }
};

// A product of matrices: out[m][n] (+)= sum over k of a[m a_row + k a_step] b[k b_step + n / L b_panel + n % L].
template <typename Real>
struct Product {
  const Real* a;
  int64_t a_row, a_step;
  const Real* b;
  int64_t b_step, b_panel;
  int64_t rows, depth, panels;
  Real* out;
  int64_t out_row;  // numbers; those of a row are contiguous
};

template <typename Real>
struct ProjectKernels {
  void (*product)(const Product<Real>& product, bool add);
  // out[j] = x[j] where it is not negative (NaN stays), else 0.
  void (*open)(const Real* x, int64_t n, Real* out);
  // Moments of a tile about a shift, which is its mean if `first`: [3][width] (see stage_plan.h).
  void (*moments)(const Real* tile, int64_t pixels, int64_t width, bool first, double* moments);
  // out[j] = c[j] grad[j] + c[step + j] y[j] + c[2 step + j]
  void (*slopes)(const Real* grad, const Real* y, const Real* c, int64_t step, int64_t n, Real* out);
  // out[j] = 0 where x[j] is 0 or less, else value[j].
  void (*gate)(const Real* x, const Real* value, int64_t n, Real* out);
};

}  // namespace ddarts
