#pragma once

#include <torch/csrc/stable/tensor.h>

#include <tuple>
#include <vector>

namespace ddarts {

using torch::stable::Tensor;

// out = sum_i weights[i] inputs[i]; see mixed_sum.cpp for layouts and types.
Tensor mixed_sum(std::vector<Tensor> inputs, Tensor weights);

// (weights[i] grad for every i, <grad, inputs[i]> for every i); an output that is not wanted is empty.
std::tuple<std::vector<Tensor>, Tensor> mixed_sum_backward(Tensor grad, std::vector<Tensor> inputs, Tensor weights,
                                                           bool need_inputs, bool need_weights);

}  // namespace ddarts
