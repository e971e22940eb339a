// The operators of namespace `ddarts_cuda`; ddarts/ops/schema.py says what each argument is.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

namespace ddarts {

using torch::stable::Tensor;

std::tuple<Tensor, Tensor, Tensor> mixed_sum(std::vector<Tensor> inputs, Tensor weights, std::vector<int64_t> source,
                                             std::vector<int64_t> norm, std::optional<Tensor> mean,
                                             std::optional<Tensor> rstd, std::optional<Tensor> keep, bool logits,
                                             double eps);

std::tuple<std::vector<Tensor>, Tensor> mixed_sum_backward(Tensor grad, std::vector<Tensor> inputs, Tensor weights,
                                                           std::vector<int64_t> source, std::vector<int64_t> norm,
                                                           std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                                           std::optional<Tensor> keep, bool logits,
                                                           std::vector<int64_t> wanted, bool need_weights);

std::tuple<Tensor, Tensor, Tensor> threshold(Tensor alphas, int64_t steps, int64_t method, double threshold,
                                             bool logits);

}  // namespace ddarts
