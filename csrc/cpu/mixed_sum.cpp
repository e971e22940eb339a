// The forward pass: out = sum_u a[u, c] (x[u] - mean[u, c]) with a = W rstd, W[u] the sum of input u's kept weights.
//
// A weight of zero is not skipped: 0 * inf is NaN, as in the plain sum. An input that no kept term reads is.
//
// T is the storage type of the inputs, Acc the type of every addition (float32, or float64 for float64).

#include <torch/csrc/stable/ops.h>

#include "../common/operators.h"
#include "problem.h"
#include "statistics.h"
#include "storage.h"
#include "weighted_block.h"

namespace ddarts {
namespace {

// The sum of the inputs `which`, given densely as `inputs`: at least one.
template <typename T, typename Acc = typename Storage<T>::Acc>
void weighted_sum(const Grid& grid, const std::vector<Numbers<Acc>>& inputs, const std::vector<size_t>& which,
                  const Terms& terms, const Statistics& statistics, T* out) {
  const auto channels = static_cast<size_t>(grid.channels);
  const Coefficients<Acc> mean(grid, inputs.size(),
                               [&](size_t i, size_t c) { return statistics.mean[which[i] * channels + c]; });
  const Coefficients<Acc> scale(grid, inputs.size(), [&](size_t i, size_t c) {
    return terms.total[which[i]] * statistics.rstd[which[i] * channels + c];
  });
  const bool stream = streams<T>(grid.numel);
  for_each_chunk(grid, [&](int64_t chunk) {
    grid.for_each_block(chunk,
                        [&](const Block& block) { weighted_block<T>(grid, block, inputs, scale, mean, out, stream); });
    if (stream) blocks().finish_streams();
  });
}

// `values`, [U, C], as a tensor; or an empty one.
template <typename Acc>
Tensor statistics_tensor(const Arguments& arguments, const std::vector<double>& values) {
  const Tensor& first = arguments.inputs[0];
  std::vector<int64_t> shape{0};
  if (computes_statistics(arguments)) shape = {static_cast<int64_t>(arguments.inputs.size()), first.size(1)};
  Tensor result = torch::stable::empty(shape, accumulation_type(first), std::nullopt, first.device());
  std::copy_n(values.begin(), result.numel(), static_cast<Acc*>(result.mutable_data_ptr()));
  return result;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> mixed_sum(std::vector<Tensor> inputs, Tensor weights, std::vector<int64_t> source,
                                             std::vector<int64_t> norm, std::optional<Tensor> mean,
                                             std::optional<Tensor> rstd, std::optional<Tensor> keep, bool logits,
                                             double eps) {
  const Arguments arguments{inputs, weights, source, norm, mean, rstd, keep, logits};
  check_arguments(arguments);
  const auto format = layout_of(inputs[0]);
  const Grid grid = grid_of(arguments, format);
  const Terms terms(arguments);
  const std::vector<size_t> alive = where(terms.alive);
  const std::vector<Tensor> dense_inputs = dense(inputs, alive, format);
  Statistics statistics(arguments, grid);
  Tensor out = empty(inputs[0], format), means, rstds;
  with_storage(out.scalar_type(), [&](auto storage) {
    using T = decltype(storage);
    using Acc = typename Storage<T>::Acc;
    if (computes_statistics(arguments)) {
      compute_statistics<T>(grid, data<T>(dense_inputs), alive, norm, eps, statistics);
    }
    means = statistics_tensor<Acc>(arguments, statistics.mean);
    rstds = statistics_tensor<Acc>(arguments, statistics.rstd);
    if (alive.empty()) {
      torch::stable::zero_(out);
    } else {
      weighted_sum<T>(grid, numbers_of<Acc>(dense_inputs), alive, terms, statistics,
                      static_cast<T*>(out.mutable_data_ptr()));
    }
  });
  return {out, means, rstds};
}

}  // namespace ddarts
