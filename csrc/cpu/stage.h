#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <tuple>
#include <vector>

namespace ddarts {

using torch::stable::Tensor;
using Tensors = std::vector<Tensor>;

// y[s][e] = pointwise[s][e](depthwise[s][e](ReLU(x or BN(x)))), stored as `dtype` (none: like x), and each group's
// statistics of y before it is rounded: (y, mean, rstd).
std::tuple<Tensors, Tensor, Tensor> stage(Tensor x, Tensors depthwise, Tensors pointwise, std::vector<int64_t> dilation,
                                          int64_t stride, std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                          double eps, int64_t groups,
                                          std::optional<torch::headeronly::ScalarType> dtype);

// (dz, gradients of depthwise, gradients of pointwise, sums of dz and dz z) for dy = c0 grads + c1 y + c2. dz has the
// type of grads; x and y may be float16 where that is float32.
std::tuple<Tensor, Tensors, Tensors, Tensor> stage_backward(Tensors grads, Tensors y, Tensor coefficients, Tensor x,
                                                            Tensors depthwise, Tensors pointwise,
                                                            std::vector<int64_t> dilation, int64_t stride,
                                                            std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                                            bool need_weights);

}  // namespace ddarts
