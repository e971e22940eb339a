// Which operations of a stack of cells stay; the arguments are those of ddarts/ops/schema.py.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

namespace ddarts {

using torch::stable::Tensor;

// alphas [S, E, K] -> (keep bool [S, E, K], table int32 [S, R, 3], counts int32 [S]).
std::tuple<Tensor, Tensor, Tensor> threshold(Tensor alphas, int64_t steps, int64_t method, double threshold,
                                             bool logits);

}  // namespace ddarts
