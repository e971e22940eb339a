// ReLU and 1x1 convolutions of a state, for all edges that read it: the preprocessing of a cell's input (stride 1, one
// part) and factorised reductions (stride 2, two parts, of which the second reads a pixel further on). Legend in
// project_plan.h.
//
// A thread takes a chunk of images: ReLU of a few pixels into a tile in the first-level cache, a product of matrices,
// then y and its moments. The bits do not depend on the number of threads.

#include "project.h"

#include <torch/csrc/stable/ops.h>

#include "moments.h"
#include "pools_common.h"

namespace ddarts {

ProjectShape project_shape(const char* op, const Tensor& x, const std::vector<Tensor>& weights, int64_t stride,
                           int64_t groups) {
  check(x.is_cpu(), op, ": x is not on the CPU");
  check(x.dim() == 4, op, ": x must be [N, H, W, I]");
  check(stride >= 1, op, ": stride is ", stride, "; it must be at least 1");
  check(!weights.empty() && weights[0].dim() == 3 && weights[0].numel() > 0, op, ": weights must be P of [E, o, I]");
  check(groups >= 1 && x.size(0) % groups == 0, op, ": groups is ", groups, " for ", x.size(0), " images");
  accumulation_type(x.scalar_type(), op);
  const int64_t edges = weights[0].size(0), outputs = weights[0].size(1);
  for (const Tensor& w : weights) check_tensor(w, {edges, outputs, x.size(3)}, x.scalar_type(), op, "weights");
  const auto parts = static_cast<int64_t>(weights.size());
  const Geometry pixels{x.size(0), x.size(1), x.size(2), x.size(3), stride};
  return {edges,     parts,           x.size(0), groups,        x.size(1),       x.size(2),
          x.size(3), outputs * parts, stride,    pixels.rows(), pixels.columns()};
}

namespace {

template <typename Real>
struct Forward {
  ProjectTiles<Real> tiles;
  const Real* weights;  // panels [P][panels][I][L]
  Real* y;              // [E, N, h, w, O]

  // One image; moments [P][3][width].
  void image(int64_t n, bool first, double* moments, Real* scratch) const {
    const ProjectShape& g = tiles.g;
    const int64_t width = tiles.width(), panels = width / tiles.lanes(), part = g.part_outputs();
    Real* z = scratch;
    Real* tile = z + tiles.pixels() * g.inputs;
    tiles.each([&](int64_t at, int64_t count) {
      for (int64_t p = 0; p < g.parts; ++p) {
        tiles.open(n, p, at, count, z);
        const Real* b = weights + p * g.inputs * width;
        tiles.table.project.product(
            {z, g.inputs, 1, b, tiles.lanes(), g.inputs * tiles.lanes(), count, g.inputs, panels, tile, width}, false);
        tiles.table.project.moments(tile, count, width, first && at == 0, moments + p * 3 * width);
        for (int64_t e = 0; e < g.edges; ++e) {
          Real* out = y + ((e * g.images + n) * g.out_pixels() + at) * g.outputs + p * part;
          for (int64_t t = 0; t < count; ++t) std::copy_n(tile + t * width + e * part, part, out + t * g.outputs);
        }
      }
    });
  }

  // [chunks][P][3][width]
  std::vector<double> run() const {
    const Chunks chunks = tiles.chunks();
    const int64_t size = tiles.g.parts * 3 * tiles.width();
    std::vector<double> moments(static_cast<size_t>(chunks.count() * size), 0.0);
    chunks.run<Real>(tiles.pixels() * (tiles.g.inputs + tiles.width()), [&](int64_t i, Real* scratch) {
      for (int64_t n = chunks.begin(i); n < chunks.end(i); ++n) {
        image(n, n == chunks.begin(i), &moments[static_cast<size_t>(i * size)], scratch);
      }
    });
    return moments;
  }

  // mean and rstd [G, E, O]
  void statistics(const std::vector<double>& moments, double eps, Real* mean, Real* rstd) const {
    const ProjectShape& g = tiles.g;
    const Chunks chunks = tiles.chunks();
    const int64_t width = tiles.width(), size = g.parts * 3 * width, part = g.part_outputs();
    const std::vector<double> counts = chunks.pixels_of_group(g.out_pixels());
    const double count = std::max(1.0, static_cast<double>(g.images / g.groups * g.out_pixels()));
    for (int64_t row = 0; row < g.groups * g.edges; ++row) {
      const double* parts = moments.data() + row / g.edges * chunks.per_group() * size;
      for (int64_t c = 0; c < g.outputs; ++c) {
        const int64_t at = c / part * 3 * width + row % g.edges * part + c % part;
        const ChannelMoments all(parts + at, size, width, counts, count);
        mean[row * g.outputs + c] = static_cast<Real>(all.mean);
        rstd[row * g.outputs + c] = static_cast<Real>(all.rstd(count, eps));
      }
    }
  }
};

template <typename Real>
void forward(const ProjectShape& g, const Tensor& x, const std::vector<Tensor>& weights, double eps, Tensor& y,
             Tensor& mean, Tensor& rstd) {
  const StageTable<Real>& table = stage_table<Real>(g.columns());
  const auto value = [&](int64_t p, int64_t i, int64_t j) { return values<Real>(weights[p])[j * g.inputs + i]; };
  Aligned<Real> packed = panels_of<Real>(g.parts, g.inputs, g.columns(), table.lanes, value);
  const Forward<Real> pass{{g, table, values<Real>(x)}, packed.data(), values_of<Real>(y)};
  pass.statistics(pass.run(), eps, values_of<Real>(mean), values_of<Real>(rstd));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> project(Tensor x, std::vector<Tensor> weights, int64_t stride, double eps,
                                           int64_t groups) {
  const ProjectShape g = project_shape("project", x, weights, stride, groups);
  const ScalarType type = x.scalar_type(), wide = accumulation_type(type, "project");
  const Tensor dense = widened(x, wide);
  for (Tensor& w : weights) w = widened(w, wide);
  Tensor y = empty({g.edges, g.images, g.out_height, g.out_width, g.outputs}, wide, x);
  Tensor mean = empty({groups, g.edges, g.outputs}, wide, x), rstd = empty({groups, g.edges, g.outputs}, wide, x);
  if (wide == ScalarType::Double) {
    forward<double>(g, dense, weights, eps, y, mean, rstd);
  } else {
    forward<float>(g, dense, weights, eps, y, mean, rstd);
  }
  return {narrowed(y, type), mean, rstd};
}

}  // namespace ddarts
