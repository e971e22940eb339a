// The first half of mixed_sum's backward pass by itself; ddarts/ops/schema.py says what each argument is.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

namespace ddarts {

// (sum grad [C], sum grad z[u] [U, C]) for U inputs of C channels.
std::tuple<torch::stable::Tensor, torch::stable::Tensor> channel_sums(torch::stable::Tensor grad,
                                                                      std::vector<torch::stable::Tensor> inputs,
                                                                      std::vector<int64_t> norm,
                                                                      std::optional<torch::stable::Tensor> mean,
                                                                      std::optional<torch::stable::Tensor> rstd);

}  // namespace ddarts
