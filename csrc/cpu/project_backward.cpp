// The gradients of project. Legend in project_plan.h.
//
// A thread takes a chunk of images and walks over the same tiles: dy from the gradients of all edges, its product with
// the weights for the state, that with ReLU(x) for the weights. Every pixel of the state belongs to one part.

#include <torch/csrc/stable/ops.h>

#include "pools_common.h"
#include "project.h"

namespace ddarts {
namespace {

template <typename Real>
struct Backward {
  ProjectTiles<Real> tiles;
  const Real* weights;             // panels [P][panels of I][columns][L]
  std::vector<const Real*> grads;  // E of [N, h, w, O]
  const Real *y, *coefficients;    // [E, N, h, w, O], [E][3][O]
  Real* dx;

  int64_t scratch_size() const { return tiles.pixels() * (tiles.g.inputs + tiles.width() + tiles.padded_inputs()); }

  int64_t weight_size() const { return tiles.g.parts * tiles.g.inputs * tiles.width(); }

  // dy[pixels][width] of a part
  void slopes(int64_t n, int64_t p, int64_t at, int64_t count, Real* dy) const {
    const ProjectShape& g = tiles.g;
    const int64_t part = g.part_outputs(), width = tiles.width();
    for (int64_t e = 0; e < g.edges; ++e) {
      const Real* grad = grads[static_cast<size_t>(e)] + (n * g.out_pixels() + at) * g.outputs + p * part;
      const Real* own = y + ((e * g.images + n) * g.out_pixels() + at) * g.outputs + p * part;
      const Real* c = coefficients + e * 3 * g.outputs + p * part;
      for (int64_t t = 0; t < count; ++t) {
        const int64_t pixel = t * g.outputs;
        tiles.table.project.slopes(grad + pixel, own + pixel, c, g.outputs, part, dy + t * width + e * part);
      }
    }
  }

  // One image: its dx, and what it adds to the gradients of the weights [P][I][width], if they are wanted.
  void image(int64_t n, Real* gradients, Real* scratch) const {
    const ProjectShape& g = tiles.g;
    const auto& kernels = tiles.table.project;
    const int64_t width = tiles.width(), inputs = tiles.padded_inputs(), lanes = tiles.lanes();
    Real* z = scratch;
    Real* dy = z + tiles.pixels() * g.inputs;
    Real* slope = dy + tiles.pixels() * width;
    if (!tiles.dense()) {
      const int64_t size = g.height * g.width * g.inputs;
      std::fill_n(dx + n * size, size, Real{0});
    }
    tiles.each([&](int64_t at, int64_t count) {
      for (int64_t p = 0; p < g.parts; ++p) {
        slopes(n, p, at, count, dy);
        const Real* b = weights + p * inputs * g.columns();
        kernels.product(
            {dy, width, 1, b, lanes, g.columns() * lanes, count, g.columns(), inputs / lanes, slope, inputs}, false);
        for (int64_t t = 0; t < count; ++t) {
          const int64_t from = tiles.source(n, p, at + t);
          if (from >= 0) kernels.gate(tiles.x + from, slope + t * inputs, g.inputs, dx + from);
        }
        if (gradients == nullptr) continue;
        tiles.open(n, p, at, count, z);
        kernels.product(
            {z, 1, g.inputs, dy, width, lanes, g.inputs, count, width / lanes, gradients + p * g.inputs * width, width},
            true);
      }
    });
  }

  // Fills dx; parts[chunks][P][I][width] where gradients of the weights are wanted.
  void run(Real* parts) const {
    const Chunks chunks = tiles.chunks();
    chunks.run<Real>(scratch_size(), [&](int64_t i, Real* scratch) {
      Real* part = parts == nullptr ? nullptr : parts + i * weight_size();
      for (int64_t n = chunks.begin(i); n < chunks.end(i); ++n) image(n, part, scratch);
    });
  }

  // The chunks' gradients added in order and in double: result[p] [E, o, I].
  void reduce(const Real* parts, std::vector<Tensor>& result) const {
    const ProjectShape& g = tiles.g;
    const int64_t chunks = tiles.chunks().count(), width = tiles.width();
    for (int64_t p = 0; p < g.parts; ++p) {
      Real* out = values_of<Real>(result[static_cast<size_t>(p)]);
      for (int64_t i = 0; i < g.inputs; ++i) {
        for (int64_t j = 0; j < g.columns(); ++j) {
          double sum = 0;
          const Real* from = parts + (p * g.inputs + i) * width + j;
          for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += static_cast<double>(from[chunk * weight_size()]);
          out[j * g.inputs + i] = static_cast<Real>(sum);
        }
      }
    }
  }
};

template <typename Real>
void backward(const ProjectShape& g, const std::vector<Tensor>& grads, const Tensor& y, const Tensor& coefficients,
              const Tensor& x, const std::vector<Tensor>& weights, Tensor& dx, std::vector<Tensor>& found) {
  const StageTable<Real>& table = stage_table<Real>(g.columns());
  const auto value = [&](int64_t p, int64_t j, int64_t i) { return values<Real>(weights[p])[j * g.inputs + i]; };
  Aligned<Real> packed = panels_of<Real>(g.parts, g.columns(), g.inputs, table.lanes, value);
  std::vector<const Real*> each;
  for (const Tensor& grad : grads) each.push_back(values<Real>(grad));
  const Backward<Real> pass{{g, table, values<Real>(x)}, packed.data(),      each, values<Real>(y),
                            values<Real>(coefficients),  values_of<Real>(dx)};
  Aligned<Real> parts(found.empty() ? 0 : pass.tiles.chunks().count() * pass.weight_size());
  pass.run(found.empty() ? nullptr : parts.data());
  if (!found.empty()) pass.reduce(parts.data(), found);
}

}  // namespace

std::tuple<Tensor, std::vector<Tensor>> project_backward(std::vector<Tensor> grads, Tensor y, Tensor coefficients,
                                                         Tensor x, std::vector<Tensor> weights, int64_t stride,
                                                         bool need_weights) {
  const char* op = "project_backward";
  const ProjectShape g = project_shape(op, x, weights, stride, 1);
  const ScalarType type = x.scalar_type(), wide = accumulation_type(type, op);
  check(static_cast<int64_t>(grads.size()) == g.edges, op, ": grads has ", grads.size(), " entries for ", g.edges,
        " edges");
  for (Tensor& grad : grads) {
    check_tensor(grad, {g.images, g.out_height, g.out_width, g.outputs}, type, op, "grads");
    grad = widened(grad, wide);
  }
  check_tensor(y, {g.edges, g.images, g.out_height, g.out_width, g.outputs}, type, op, "y");
  check_tensor(coefficients, {g.edges, 3, g.outputs}, wide, op, "coefficients");
  for (Tensor& w : weights) w = widened(w, wide);
  const Tensor dense[] = {widened(y, wide), torch::stable::contiguous(coefficients), widened(x, wide)};
  Tensor dx = empty({g.images, g.height, g.width, g.inputs}, wide, x);
  std::vector<Tensor> found;
  for (size_t p = 0; need_weights && p < weights.size(); ++p) {
    found.push_back(empty({g.edges, g.part_outputs(), g.inputs}, wide, x));
  }
  if (wide == ScalarType::Double) {
    backward<double>(g, grads, dense[0], dense[1], dense[2], weights, dx, found);
  } else {
    backward<float>(g, grads, dense[0], dense[1], dense[2], weights, dx, found);
  }
  for (Tensor& gradient : found) gradient = narrowed(gradient, type);
  return {narrowed(dx, type), found};
}

}  // namespace ddarts
