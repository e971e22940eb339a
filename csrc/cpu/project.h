// ReLU and 1x1 convolutions of a state, and their gradients; ddarts/ops/schema.py says what each argument is.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <tuple>
#include <vector>

#include "aligned.h"
#include "project_plan.h"
#include "stage_chunks.h"
#include "stage_plan.h"

namespace ddarts {

using torch::stable::Tensor;

// y [E, N, h, w, O] and each group's mean and rstd [G, E, O].
std::tuple<Tensor, Tensor, Tensor> project(Tensor x, std::vector<Tensor> weights, int64_t stride, double eps,
                                           int64_t groups);

// (dx, gradients of the weights) for dy[e] = c0 grads[e] + c1 y[e] + c2.
std::tuple<Tensor, std::vector<Tensor>> project_backward(std::vector<Tensor> grads, Tensor y, Tensor coefficients,
                                                         Tensor x, std::vector<Tensor> weights, int64_t stride,
                                                         bool need_weights);

// Throws unless x [N, H, W, I] and weights, P of [E, o, I], fit.
ProjectShape project_shape(const char* op, const Tensor& x, const std::vector<Tensor>& weights, int64_t stride,
                           int64_t groups);

// What both passes walk over: tiles of the pixels of an image, and what a part reads of x there.
template <typename Real>
struct ProjectTiles {
  ProjectShape g;
  const StageTable<Real>& table;
  const Real* x;

  int64_t lanes() const { return table.lanes; }
  int64_t width() const { return rounded_up(g.columns(), lanes()); }
  int64_t padded_inputs() const { return rounded_up(g.inputs, lanes()); }
  int64_t pixels() const { return std::clamp<int64_t>(4096 / std::max<int64_t>(1, g.inputs) / 12 * 12, 12, 60); }
  Chunks chunks() const { return {1, g.groups, g.images, g.out_pixels()}; }
  bool dense() const { return g.stride == 1 && g.parts == 1; }  // a tile's pixels of x lie side by side

  // Where a part reads pixel `at` of an image's outputs, in numbers from x; -1 beyond the border.
  int64_t source(int64_t image, int64_t part, int64_t at) const {
    const int64_t i = at / g.out_width * g.stride + part, j = at % g.out_width * g.stride + part;
    return i < g.height && j < g.width ? ((image * g.height + i) * g.width + j) * g.inputs : -1;
  }

  // z[pixels][I] = ReLU(x)
  void open(int64_t image, int64_t part, int64_t first, int64_t n, Real* z) const {
    if (dense()) return table.project.open(x + source(image, part, first), n * g.inputs, z);
    for (int64_t t = 0; t < n; ++t, z += g.inputs) {
      const int64_t from = source(image, part, first + t);
      if (from < 0) {
        std::fill_n(z, g.inputs, Real{0});
      } else {
        table.project.open(x + from, g.inputs, z);
      }
    }
  }

  // body(first pixel, how many) for the tiles of an image.
  template <typename Body>
  void each(const Body& body) const {
    for (int64_t t = 0; t < g.out_pixels(); t += pixels()) body(t, std::min(pixels(), g.out_pixels() - t));
  }
};

// Matrices [depth][n] of the parts in panels, [P][panels][depth][L], zero in the lanes past n.
template <typename Real, typename Value>
Aligned<Real> panels_of(int64_t parts, int64_t depth, int64_t n, int64_t lanes, const Value& value) {
  const int64_t count = rounded_up(n, lanes) / lanes;
  Aligned<Real> result(parts * count * depth * lanes);
  for (int64_t p = 0; p < parts; ++p) {
    for (int64_t j = 0; j < n; ++j) {
      Real* column = result.data() + (p * count + j / lanes) * depth * lanes + j % lanes;
      for (int64_t k = 0; k < depth; ++k) column[k * lanes] = value(p, k, j);
    }
  }
  return result;
}

}  // namespace ddarts
