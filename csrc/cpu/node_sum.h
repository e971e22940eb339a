// A node's sum for several networks side by side; ddarts/ops/schema.py says what each argument is.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <vector>

namespace ddarts {

// out = sum_u w[g, u] (x[u] - mean[g, u]) rstd[g, u], all images of the runs of inputs in order.
torch::stable::Tensor node_sum(std::vector<torch::stable::Tensor> inputs, torch::stable::Tensor weights,
                               std::optional<torch::stable::Tensor> mean, std::optional<torch::stable::Tensor> rstd);

}  // namespace ddarts
