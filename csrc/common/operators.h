// The operators that the CPU and the CUDA library both implement; ddarts/ops/schema.py says what each argument is.
//
// Legend: U inputs of one shape, C channels, n terms, term m weighs input source[m]; S cells, E edges, K operations.
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

// alphas [S, E, K] -> (keep bool [S, E, K], table int32 [S, R, 3], counts int32 [S]).
std::tuple<Tensor, Tensor, Tensor> threshold(Tensor alphas, int64_t steps, int64_t method, double threshold,
                                             bool logits);

}  // namespace ddarts
