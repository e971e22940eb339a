// The stage of many edges at once, forward. Legend in stage_plan.h.
//
// A thread takes a chunk of images: ReLU (and BN) of one image into rows with borders, then for every edge and kind a
// few rows of the depthwise convolution, which stay in the first-level cache for the pointwise one, which stores y and
// adds up its moments. Nothing but y and the moments is written to memory.

#include "stage.h"

#include <torch/csrc/stable/ops.h>

#include "../common/check.h"
#include "moments.h"
#include "stage_arguments.h"
#include "stage_chunks.h"

namespace ddarts {
namespace {

using torch::headeronly::toString;

struct Statistics {
  Tensor mean, rstd;  // [G, S, E, C]
};

// moments[chunk of an input][S * E][3][B * L], group after group.
template <typename Real>
void finish(const StageShape& g, const Chunks& chunks, const std::vector<double>& moments, double eps,
            Statistics& result) {
  Real* mean = static_cast<Real*>(result.mean.mutable_data_ptr());
  Real* rstd = static_cast<Real*>(result.rstd.mutable_data_ptr());
  const int64_t kernels = g.kinds * g.edges, next = g.padded();
  const std::vector<double> counts = chunks.pixels_of_group(g.out_pixels());
  const double count = std::max(1.0, static_cast<double>(g.images / g.groups * g.out_pixels()));
  for (int64_t row = 0; row < g.groups * kernels; ++row) {
    const double* parts = moments.data() + (row / kernels * chunks.per_group() * kernels + row % kernels) * 3 * next;
    for (int64_t c = 0; c < g.channels; ++c) {
      const ChannelMoments all(parts + c, kernels * 3 * next, next, counts, count);
      mean[row * g.channels + c] = static_cast<Real>(all.mean);
      rstd[row * g.channels + c] = static_cast<Real>(all.rstd(count, eps));
    }
  }
}

template <typename Real>
Statistics forward(const StageArguments& a, const Tensors& y, double eps) {
  const StageTable<Real>& table = stage_table<Real>(a.x.size(4));
  const StageShape g = shape_of(a, table.lanes, sizeof(Real));
  const StageOperands<Real> operands(a, g, false);
  std::vector<char*> out;
  for (const Tensor& t : y) out.push_back(static_cast<char*>(t.mutable_data_ptr()));
  const StageForward<Real> job = {operands.input(), stored_as<Real>(y[0].scalar_type()), out.data()};
  const Chunks chunks(g);
  const int64_t kernels = g.kinds * g.edges, size = 3 * g.padded();
  std::vector<double> moments(static_cast<size_t>(chunks.per_input() * kernels * size), 0.0);
  chunks.run<Real>(table.forward_scratch(g), [&](int64_t i, Real* scratch) {
    std::vector<double*> parts;
    double* first = &moments[static_cast<size_t>(i % chunks.per_input() * kernels * size)];
    for (int64_t k = 0; k < kernels; ++k) parts.push_back(first + k * size);
    const StageChunk<Real> chunk = {
        chunks.input(i), chunks.group(i), chunks.begin(i), chunks.end(i), parts.data(), {}, {}, {}};
    table.forward(job, chunk, scratch);
  });
  const ScalarType type = accumulation_type_of<Real>;
  const std::vector<int64_t> sizes = {g.groups, g.kinds, g.edges, g.channels};
  Statistics result = {torch::stable::empty(sizes, type), torch::stable::empty(sizes, type)};
  finish<Real>(g, chunks, moments, eps, result);
  return result;
}

}  // namespace

std::tuple<Tensors, Tensor, Tensor> stage(Tensor x, Tensors depthwise, Tensors pointwise, std::vector<int64_t> dilation,
                                          int64_t stride, std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                          double eps, int64_t groups, std::optional<ScalarType> dtype) {
  const StageArguments a = {"stage", x, depthwise, pointwise, dilation, stride, mean, rstd, groups};
  check_arguments(a);
  const StageShape g = shape_of(a, 1, 1);
  const ScalarType type = x.scalar_type(), stored = dtype.value_or(type);
  check(may_be_stored(type, stored), "stage: dtype is ", toString(stored), " for x of ", toString(type));
  const std::vector<int64_t> sizes = {g.edges, g.images, g.out_height, g.out_width, g.channels};
  Tensors y;
  for (int64_t s = 0; s < g.kinds; ++s) y.push_back(torch::stable::empty(sizes, stored));
  const Statistics found = type == ScalarType::Double ? forward<double>(a, y, eps) : forward<float>(a, y, eps);
  return {y, found.mean, found.rstd};
}

}  // namespace ddarts
