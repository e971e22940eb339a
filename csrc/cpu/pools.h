#pragma once

#include <torch/csrc/stable/tensor.h>

#include <tuple>
#include <vector>

namespace ddarts {

using torch::stable::Tensor;

// (maximum, average, index of the maximum, mean, rstd) of a state [N, H, W, C], statistics for each group of images;
// see pools.cpp.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> pools(Tensor x, int64_t stride, double eps, int64_t groups);

// Gradient [N, height, width, C] of the state.
Tensor pools_backward(std::vector<Tensor> grads, Tensor most, Tensor average, Tensor index, Tensor coefficients,
                      int64_t height, int64_t width, int64_t stride);

}  // namespace ddarts
