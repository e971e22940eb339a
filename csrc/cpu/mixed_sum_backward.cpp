// The backward pass. All of it follows from two sums for each channel, over the batch and the image:
//
//   S0[c] = sum grad,   S1[u, c] = sum grad z[u],   z = (x - mean) rstd
//   dw[m] = sum_c S1[source[m], c]   (times w (1 - w) for logits)
//   dx[u] = a (grad - (S0 + z[u] S1[u]) / count) for batch statistics, a grad else;   a = W rstd
//
// So one pass reads grad and the inputs for the sums, where something needs them, and a second one writes dx. An input
// that no kept term reads has a gradient of zero and is not looked at.
//
// T is the storage type of the tensors, Acc the type of every addition (float32, or float64 for float64). Inputs of
// channel_sums may be float16 where grad is float32.

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <numeric>

#include "../common/check.h"
#include "../common/operators.h"
#include "channel_sums.h"
#include "problem.h"
#include "storage.h"

namespace ddarts {
namespace {

using torch::headeronly::ScalarType;

// S0 [C] and S1 [U, C]; 0 where nothing was summed.
struct Sums {
  std::vector<double> all, centred;

  Sums(const Grid& grid, size_t inputs)
      : all(static_cast<size_t>(grid.channels), 0.0), centred(inputs * all.size(), 0.0) {}
};

// Finds S0, and S1 of the inputs `which`, given densely as `inputs`.
template <typename Acc>
void add_up(const Grid& grid, const Numbers<Acc>& grad, const std::vector<Numbers<Acc>>& inputs,
            const std::vector<size_t>& which, const Statistics& statistics, Sums& result) {
  const auto& a = arithmetic<Acc>(blocks());
  const auto channels = static_cast<size_t>(grid.channels);
  const Coefficients<Acc> mean(grid, inputs.size(),
                               [&](size_t i, size_t c) { return statistics.mean[which[i] * channels + c]; });
  ChunkSums sums(grid, 1 + inputs.size());
  for_each_chunk(grid, [&](int64_t chunk) {
    grid.for_each_block(chunk, [&](const Block& block) {
      alignas(64) Acc grad_scratch[kBlock], scratch[kBlock];
      const Acc* g = (grad + block.at).load(grad_scratch, block.n);
      grid.for_each_piece(block, [&](int64_t at, int64_t n, int64_t entry) {
        a.total(sums.at(chunk, 0) + entry, g + at, grid.period(), n);
      });
      for (size_t i = 0; i < inputs.size(); ++i) {
        const Numbers<Acc> next = following(inputs, i, block);
        const Acc* x = (inputs[i] + block.at).load(scratch, block.n);
        double* row = sums.at(chunk, 1 + i);
        grid.for_each_piece(block, [&](int64_t at, int64_t n, int64_t entry) {
          a.dot(row + entry, g + at, x + at, mean[i] + entry, grid.period(), n, (next + at).ahead(x));
        });
      }
    });
  });
  const std::vector<double> total = sums.total();
  std::copy_n(total.begin(), channels, result.all.begin());
  for (size_t i = 0; i < which.size(); ++i) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t at = which[i] * channels + c;
      result.centred[at] = total[(1 + i) * channels + c] * statistics.rstd[at];
    }
  }
}

// One gradient to write: that of input u. x: its numbers, where they are read (batch statistics), else null.
template <typename T>
struct Target {
  size_t u;
  const T* x;
  T* out;
};

// The gradients that are not zero; the zeros of the others are written here.
template <typename T>
std::vector<Target<T>> targets_of(const Arguments& arguments, const Terms& terms, const std::vector<size_t>& read,
                                  const std::vector<Tensor>& x, const std::vector<int64_t>& wanted,
                                  std::vector<Tensor>& grad_inputs) {
  std::vector<const T*> numbers(arguments.inputs.size(), nullptr);
  for (size_t i = 0; i < read.size(); ++i) numbers[read[i]] = data<T>(x[i]);
  std::vector<Target<T>> result;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto u = static_cast<size_t>(wanted[i]);
    if (!terms.alive[u]) {
      torch::stable::zero_(grad_inputs[i]);
      continue;
    }
    const bool through = is(arguments.norm[u], Norm::kBatch);
    result.push_back({u, through ? numbers[u] : nullptr, static_cast<T*>(grad_inputs[i].mutable_data_ptr())});
  }
  return result;
}

// dx = scale grad + (slope (x - mean) + shift) with batch statistics, else scale grad.
template <typename Acc>
struct GradientCoefficients {
  Coefficients<Acc> scale, slope, mean, shift;
};

template <typename T>
auto coefficients_of(const Grid& grid, const std::vector<Target<T>>& targets, const Terms& terms,
                     const Statistics& statistics, const Sums& sums) {
  using Acc = typename Storage<T>::Acc;
  const auto channels = static_cast<size_t>(grid.channels);
  const double per_element = -1.0 / static_cast<double>(std::max<int64_t>(1, grid.count()));
  const auto row = [&](size_t i, size_t c) { return targets[i].u * channels + c; };
  const auto mean = [&](size_t i, size_t c) { return statistics.mean[row(i, c)]; };
  const auto scale = [&](size_t i, size_t c) { return terms.total[targets[i].u] * statistics.rstd[row(i, c)]; };
  const auto shift = [&](size_t i, size_t c) { return scale(i, c) * sums.all[c] * per_element; };
  const auto slope = [&](size_t i, size_t c) {
    return scale(i, c) * statistics.rstd[row(i, c)] * sums.centred[row(i, c)] * per_element;
  };
  const size_t n = targets.size();
  return GradientCoefficients<Acc>{{grid, n, scale}, {grid, n, slope}, {grid, n, mean}, {grid, n, shift}};
}

template <typename T, typename Acc>
void write_gradients(const Grid& grid, const T* grad, const std::vector<Target<T>>& targets,
                     const GradientCoefficients<Acc>& by) {
  using S = Storage<T>;
  const Blocks& k = blocks();
  const auto& a = arithmetic<Acc>(k);
  const int64_t period = grid.period();
  const bool stream = streams<T>(grid.numel * static_cast<int64_t>(targets.size()));
  for_each_chunk(grid, [&](int64_t chunk) {
    grid.for_each_block(chunk, [&](const Block& block) {
      alignas(64) Acc grad_scratch[kBlock], scratch[kBlock], result[kBlock];
      const Acc* g = S::load(k, grad + block.at, grad_scratch, block.n);
      for (size_t i = 0; i < targets.size(); ++i) {
        const T* x = targets[i].x;
        const T* next = i + 1 < targets.size() ? targets[i + 1].x : nullptr;
        const Acc* value = x == nullptr ? g : S::load(k, x + block.at, scratch, block.n);
        Acc* out = S::target(targets[i].out + block.at, result);
        grid.for_each_piece(block, [&](int64_t at, int64_t n, int64_t entry) {
          const void* ahead = next == nullptr ? value + at : S::ahead(next + block.at + at, value);
          if (x == nullptr) {
            a.scale(out + at, g + at, by.scale[i] + entry, period, n, ahead, stream);
          } else {
            a.gradient(out + at, g + at, value + at, by.scale[i] + entry, by.slope[i] + entry, by.mean[i] + entry,
                       by.shift[i] + entry, period, n, ahead, stream);
          }
        });
        S::store(k, targets[i].out + block.at, result, block.n);
      }
    });
    if (stream) k.finish_streams();
  });
}

// dw [n], in the weights' type.
Tensor weight_gradients(const Arguments& arguments, const Terms& terms, const Sums& sums) {
  const Tensor& weights = arguments.weights;
  Tensor wide = torch::stable::empty(weights.sizes(), ScalarType::Double, std::nullopt, weights.device());
  double* result = static_cast<double*>(wide.mutable_data_ptr());
  const size_t channels = sums.all.size();
  for (size_t m = 0; m < terms.value.size(); ++m) {
    const double* row = sums.centred.data() + static_cast<size_t>(arguments.source[m]) * channels;
    const double dot = std::accumulate(row, row + channels, 0.0);
    const double w = terms.value[m];
    result[m] = terms.kept[m] ? dot * (arguments.logits ? w * (1.0 - w) : 1.0) : 0.0;
  }
  return torch::stable::to(wide, weights.scalar_type());
}

void check_wanted(const std::vector<int64_t>& wanted, size_t inputs) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    check(wanted[i] >= 0 && wanted[i] < static_cast<int64_t>(inputs), "mixed_sum: wanted[", i, "] is ", wanted[i],
          ", but there are ", inputs, " inputs");
  }
}

// The inputs whose numbers are read: all that the weights' gradients need, else those wanted with batch statistics.
std::vector<size_t> to_read(const Arguments& arguments, const Terms& terms, const std::vector<int64_t>& wanted,
                            bool need_weights) {
  std::vector<char> use(arguments.inputs.size(), need_weights);
  for (int64_t u : wanted) use[static_cast<size_t>(u)] |= is(arguments.norm[static_cast<size_t>(u)], Norm::kBatch);
  for (size_t u = 0; u < use.size(); ++u) use[u] &= terms.alive[u];
  return where(use);
}

}  // namespace

std::tuple<std::vector<Tensor>, Tensor> mixed_sum_backward(Tensor grad, std::vector<Tensor> inputs, Tensor weights,
                                                           std::vector<int64_t> source, std::vector<int64_t> norm,
                                                           std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                                           std::optional<Tensor> keep, bool logits,
                                                           std::vector<int64_t> wanted, bool need_weights) {
  const Arguments arguments{inputs, weights, source, norm, mean, rstd, keep, logits};
  check_arguments(arguments);
  check_like(inputs[0], grad, "grad");
  check(!computes_statistics(arguments), "mixed_sum: the gradient through batch statistics needs mean and rstd");
  check_wanted(wanted, inputs.size());
  const auto format = layout_of(inputs[0]);
  const Grid grid = grid_of(arguments, format);
  const Terms terms(arguments);
  const Statistics statistics(arguments, grid);
  const std::vector<size_t> read = to_read(arguments, terms, wanted, need_weights);
  const std::vector<Tensor> x = dense(inputs, read, format);
  const Tensor g = torch::stable::contiguous(grad, format);
  std::vector<Tensor> grad_inputs;
  for (size_t i = 0; i < wanted.size(); ++i) grad_inputs.push_back(empty(inputs[0], format));

  Sums sums(grid, inputs.size());
  with_storage(grad.scalar_type(), [&](auto storage) {
    using T = decltype(storage);
    using Acc = typename Storage<T>::Acc;
    if (!read.empty()) add_up(grid, Numbers<Acc>(g), numbers_of<Acc>(x), read, statistics, sums);
    const auto targets = targets_of<T>(arguments, terms, read, x, wanted, grad_inputs);
    if (targets.empty()) return;
    write_gradients(grid, data<T>(g), targets, coefficients_of(grid, targets, terms, statistics, sums));
  });
  if (need_weights) return {grad_inputs, weight_gradients(arguments, terms, sums)};
  return {grad_inputs, torch::stable::empty({0}, weights.scalar_type(), std::nullopt, weights.device())};
}

std::tuple<Tensor, Tensor> channel_sums(Tensor grad, std::vector<Tensor> inputs, std::vector<int64_t> norm,
                                        std::optional<Tensor> mean, std::optional<Tensor> rstd) {
  check(!inputs.empty(), "channel_sums: inputs is an empty list");
  const auto n = static_cast<int64_t>(inputs.size());
  Tensor weights = torch::stable::empty({n}, grad.scalar_type(), std::nullopt, grad.device());
  torch::stable::zero_(weights);  // the sums do not depend on them
  std::vector<int64_t> source(inputs.size());
  std::iota(source.begin(), source.end(), 0);
  const Arguments arguments{inputs, weights, source, norm, mean, rstd, std::nullopt, false};
  check_summed(arguments, grad);
  check(!computes_statistics(arguments), "channel_sums: batch statistics need mean and rstd");
  const auto format = layout_of(inputs[0]);
  const Grid grid = grid_of_channels(inputs[0], format);
  const std::vector<size_t> read(source.begin(), source.end());
  const std::vector<Tensor> x = dense(inputs, read, format);
  const Tensor g = torch::stable::contiguous(grad, format);
  Sums sums(grid, inputs.size());
  with_storage(grad.scalar_type(), [&](auto storage) {
    using Acc = typename Storage<decltype(storage)>::Acc;
    add_up(grid, Numbers<Acc>(g), numbers_of<Acc>(x), read, Statistics(arguments, grid), sums);
  });
  const auto wide = [&](const std::vector<double>& values, std::vector<int64_t> shape) {
    Tensor result = torch::stable::empty(shape, ScalarType::Double, std::nullopt, grad.device());
    std::copy(values.begin(), values.end(), static_cast<double*>(result.mutable_data_ptr()));
    return torch::stable::to(result, accumulation_type(grad));
  };
  return {wide(sums.all, {grid.channels}), wide(sums.centred, {n, grid.channels})};
}

}  // namespace ddarts
