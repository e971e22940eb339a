// The weighted sum of a node's candidate outputs, with batch normalisation, and its gradients. The arguments are those
// of ddarts/ops/schema.py; U inputs of one shape, C channels, n terms, term m weighs input source[m].
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

namespace ddarts {

using torch::stable::Tensor;

// (the sum, mean and rstd [U, C]): the statistics are empty when they are given, or when nothing needs them.
std::tuple<Tensor, Tensor, Tensor> mixed_sum(std::vector<Tensor> inputs, Tensor weights, std::vector<int64_t> source,
                                             std::vector<int64_t> norm, std::optional<Tensor> mean,
                                             std::optional<Tensor> rstd, std::optional<Tensor> keep, bool logits,
                                             double eps);

// (gradients of the inputs `wanted`, gradient of the weights [n], empty when it is not needed).
std::tuple<std::vector<Tensor>, Tensor> mixed_sum_backward(Tensor grad, std::vector<Tensor> inputs, Tensor weights,
                                                           std::vector<int64_t> source, std::vector<int64_t> norm,
                                                           std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                                           std::optional<Tensor> keep, bool logits,
                                                           std::vector<int64_t> wanted, bool need_weights);

// (sum grad [C], sum grad z[u] [U, C]): the first half of the backward pass by itself.
std::tuple<Tensor, Tensor> channel_sums(Tensor grad, std::vector<Tensor> inputs, std::vector<int64_t> norm,
                                        std::optional<Tensor> mean, std::optional<Tensor> rstd);

}  // namespace ddarts
