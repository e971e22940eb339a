// A node's sum for G networks side by side, whose images are consecutive groups: every group has its own weights and
// statistics, and all are one loop over chunks.
//
// T is the storage type of the sum and of the weights, Acc the type of every addition (float32, or float64 for
// float64); inputs of a float32 sum may be float16.

#include "node_sum.h"

#include <torch/csrc/stable/ops.h>

#include "../common/check.h"
#include "problem.h"
#include "storage.h"
#include "weighted_block.h"

namespace ddarts {
namespace {

using torch::headeronly::toString;

struct NodeShape {
  int64_t groups, terms, images;  // images: of a group
};

NodeShape check_arguments(const std::vector<Tensor>& inputs, const Tensor& weights, const std::optional<Tensor>& mean,
                          const std::optional<Tensor>& rstd) {
  check(weights.is_cpu(), "node_sum: weights is not on the CPU");
  check(weights.dim() == 2 && weights.numel() > 0, "node_sum: weights must be [G, U]");
  const int64_t groups = weights.size(0), terms = weights.size(1), count = static_cast<int64_t>(inputs.size());
  check(count > 0 && count % terms == 0, "node_sum: inputs holds ", count, " tensors, expected runs of ", terms);
  const Tensor& first = inputs[0];
  check(first.is_cpu(), "node_sum: inputs[0] is not on the CPU");
  check_floating(weights.scalar_type(), "node_sum: weights");
  check(first.dim() >= 2, "node_sum: inputs must be [N, C, ...]");
  int64_t images = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor &x = inputs[i], &lead = inputs[i - i % terms];
    check(may_be_stored(weights.scalar_type(), x.scalar_type()), "node_sum: inputs[", i, "] is ",
          toString(x.scalar_type()), " but weights is ", toString(weights.scalar_type()));
    check(x.is_cpu() && x.dim() == first.dim(), "node_sum: inputs[", i, "] and inputs[0] differ");
    for (int64_t d = 0; d < x.dim(); ++d) {
      check(x.size(d) == (d == 0 ? lead : first).size(d), "node_sum: inputs[", i, "] has the wrong shape");
    }
    if (i % terms == 0) images += x.size(0);
  }
  check(images % groups == 0, "node_sum: weights has ", groups, " groups for ", images, " images");
  for (int64_t i = 0; i < count; i += terms) {
    check(images == 0 || inputs[i].size(0) % (images / groups) == 0, "node_sum: inputs[", i, "] splits a group");
  }
  check(mean.has_value() == rstd.has_value(), "node_sum: mean and rstd belong together: give both or neither");
  for (const auto* statistics : {&mean, &rstd}) {
    if (!statistics->has_value()) continue;
    const Tensor& x = **statistics;
    check(x.is_cpu() && x.scalar_type() == accumulation_type(first) && x.dim() == 3 && x.size(0) == groups &&
              x.size(1) == terms && x.size(2) == first.size(1),
          "node_sum: mean and rstd must be [G, U, C] in the type of sums");
  }
  return {groups, terms, images / groups};
}

// The terms of one group: where they lie, and by what they are scaled.
template <typename Acc>
struct Group {
  std::vector<Numbers<Acc>> inputs;
  Coefficients<Acc> scale, mean;
};

template <typename Acc>
std::vector<Group<Acc>> groups_of(const NodeShape& shape, const Grid& grid, const std::vector<Tensor>& inputs,
                                  const Tensor& weights, const std::vector<double>& mean,
                                  const std::vector<double>& rstd) {
  const auto channels = static_cast<size_t>(grid.channels), terms = static_cast<size_t>(shape.terms);
  const std::vector<double> values = numbers(torch::stable::contiguous(weights));
  std::vector<Group<Acc>> result;
  size_t run = 0;
  int64_t image = 0;  // of the run
  for (size_t g = 0; g < static_cast<size_t>(shape.groups); ++g, image += shape.images) {
    while (image == inputs[run].size(0)) {
      run += terms;
      image = 0;
    }
    std::vector<Numbers<Acc>> here;
    for (size_t u = 0; u < terms; ++u) {
      here.push_back(Numbers<Acc>(inputs[run + u]) + image * (inputs[run].numel() / inputs[run].size(0)));
    }
    const auto row = [&](size_t u, size_t c) { return (g * terms + u) * channels + c; };
    result.push_back(
        {here,
         {grid, terms,
          [&](size_t u, size_t c) { return values[g * terms + u] * (rstd.empty() ? 1.0 : rstd[row(u, c)]); }},
         {grid, terms, [&](size_t u, size_t c) { return mean.empty() ? 0.0 : mean[row(u, c)]; }}});
  }
  return result;
}

template <typename T, typename Acc = typename Storage<T>::Acc>
void sum_groups(const Grid& grid, const std::vector<Group<Acc>>& groups, T* out) {
  const int64_t chunks = grid.chunks();
  const bool stream = streams<T>(grid.numel * static_cast<int64_t>(groups.size()));
  torch::stable::parallel_for(0, chunks * static_cast<int64_t>(groups.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Group<Acc>& group = groups[static_cast<size_t>(i / chunks)];
      T* target = out + i / chunks * grid.numel;
      grid.for_each_block(i % chunks, [&](const Block& block) {
        weighted_block<T>(grid, block, group.inputs, group.scale, group.mean, target, stream);
      });
      if (stream) blocks().finish_streams();
    }
  });
}

Grid grid_of_group(const Tensor& out, const NodeShape& shape, torch::headeronly::MemoryFormat format, bool channels) {
  const int64_t numel = out.numel() / shape.groups;
  if (!channels) return Grid(numel, 1, numel);
  const bool rows = format == torch::headeronly::MemoryFormat::Contiguous;
  return Grid(numel, out.size(1), rows ? out.numel() / (out.size(0) * out.size(1)) : 1);
}

std::vector<double> given(const std::optional<Tensor>& x) {
  return x.has_value() ? numbers(torch::stable::contiguous(*x)) : std::vector<double>();
}

}  // namespace

Tensor node_sum(std::vector<Tensor> inputs, Tensor weights, std::optional<Tensor> mean, std::optional<Tensor> rstd) {
  const NodeShape shape = check_arguments(inputs, weights, mean, rstd);
  const Tensor& first = inputs[0];
  const auto format = layout_of(first);
  std::vector<int64_t> sizes(first.sizes().begin(), first.sizes().end());
  sizes[0] = shape.images * shape.groups;
  Tensor out = torch::stable::empty(sizes, weights.scalar_type(), std::nullopt, first.device(), std::nullopt, format);
  if (out.numel() == 0) return out;
  for (Tensor& x : inputs) x = torch::stable::contiguous(x, format);
  const Grid grid = grid_of_group(out, shape, format, mean.has_value());
  with_storage(out.scalar_type(), [&](auto storage) {
    using T = decltype(storage);
    sum_groups<T>(grid, groups_of<typename Storage<T>::Acc>(shape, grid, inputs, weights, given(mean), given(rstd)),
                  static_cast<T*>(out.mutable_data_ptr()));
  });
  return out;
}

}  // namespace ddarts
