#include "problem.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cmath>

#include "../common/check.h"
#include "storage.h"

namespace ddarts {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::headeronly::toString;

namespace {

bool normalised(int64_t norm) {
  return !is(norm, Norm::kNone);
}

bool has(const std::vector<int64_t>& norm, Norm kind) {
  return std::any_of(norm.begin(), norm.end(), [kind](int64_t n) { return is(n, kind); });
}

void check_terms(const Arguments& a) {
  const auto terms = static_cast<int64_t>(a.source.size());
  check(a.weights.is_cpu(), "mixed_sum: weights is not on the CPU");
  check(a.weights.dim() == 1 && a.weights.size(0) == terms, "mixed_sum: weights must be [", terms,
        "], one for each term");
  const ScalarType x = a.inputs[0].scalar_type();
  const ScalarType w = a.weights.scalar_type();
  check(w == x || w == accumulation_type(a.inputs[0]), "mixed_sum: weights is ", toString(w), " but the inputs are ",
        toString(x));
  for (size_t m = 0; m < a.source.size(); ++m) {
    check(a.source[m] >= 0 && a.source[m] < static_cast<int64_t>(a.inputs.size()), "mixed_sum: source[", m, "] is ",
          a.source[m], ", but there are ", a.inputs.size(), " inputs");
  }
  if (a.keep.has_value()) {
    check(
        a.keep->is_cpu() && a.keep->scalar_type() == ScalarType::Bool && a.keep->dim() == 1 && a.keep->size(0) == terms,
        "mixed_sum: keep must be bool [", terms, "] on the CPU");
  }
}

void check_statistics(const Arguments& a, const Tensor& x, const char* name) {
  const Tensor& first = a.inputs[0];
  const auto inputs = static_cast<int64_t>(a.inputs.size());
  check(first.dim() >= 2, "mixed_sum: statistics need inputs [N, C, ...]");
  check(x.is_cpu() && x.scalar_type() == accumulation_type(first) && x.dim() == 2 && x.size(0) == inputs &&
            x.size(1) == first.size(1),
        "mixed_sum: ", name, " must be ", toString(accumulation_type(first)), " [", inputs, ", ", first.size(1),
        "] on the CPU");
}

void check_norm(const Arguments& a) {
  check(a.norm.size() == a.inputs.size(), "mixed_sum: norm has ", a.norm.size(), " entries for ", a.inputs.size(),
        " inputs");
  for (size_t u = 0; u < a.norm.size(); ++u) {
    check(a.norm[u] >= 0 && a.norm[u] <= static_cast<int64_t>(Norm::kFixed), "mixed_sum: norm[", u, "] is ", a.norm[u]);
    check(!normalised(a.norm[u]) || a.inputs[0].dim() >= 2, "mixed_sum: normalisation needs inputs [N, C, ...]");
  }
  check(a.mean.has_value() == a.rstd.has_value(), "mixed_sum: mean and rstd belong together: give both or neither");
  if (a.mean.has_value()) {
    check_statistics(a, *a.mean, "mean");
    check_statistics(a, *a.rstd, "rstd");
  } else {
    check(!has(a.norm, Norm::kFixed), "mixed_sum: fixed statistics need mean and rstd");
  }
}

void check_place(const Tensor& first, const Tensor& x, const std::string& name) {
  check(x.is_cpu(), "mixed_sum: ", name, " is not on the CPU");
  const auto expected = first.sizes();
  const auto sizes = x.sizes();
  check(sizes.size() == expected.size() && std::equal(sizes.begin(), sizes.end(), expected.begin()),
        "mixed_sum: ", name, " and inputs[0] differ in shape");
}

}  // namespace

void check_like(const Tensor& first, const Tensor& x, const std::string& name) {
  check_place(first, x, name);
  check(x.scalar_type() == first.scalar_type(), "mixed_sum: ", name, " is ", toString(x.scalar_type()),
        " but inputs[0] is ", toString(first.scalar_type()));
}

void check_summed(const Arguments& a, const Tensor& grad) {
  check(grad.is_cpu(), "channel_sums: grad is not on the CPU");
  check_floating(grad.scalar_type(), "channel_sums: grad");
  check(grad.dim() >= 2, "channel_sums: grad must be [N, C, ...]");
  for (size_t u = 0; u < a.inputs.size(); ++u) {
    const std::string name = "inputs[" + std::to_string(u) + "]";
    check_place(grad, a.inputs[u], name);
    check(may_be_stored(grad.scalar_type(), a.inputs[u].scalar_type()), "channel_sums: ", name, " is ",
          toString(a.inputs[u].scalar_type()), " but grad is ", toString(grad.scalar_type()));
  }
  check_norm(a);
}

void check_arguments(const Arguments& a) {
  check(!a.inputs.empty(), "mixed_sum: inputs is an empty list");
  check_floating(a.inputs[0].scalar_type(), "mixed_sum: inputs[0]");
  for (size_t u = 0; u < a.inputs.size(); ++u)
    check_like(a.inputs[0], a.inputs[u], "inputs[" + std::to_string(u) + "]");
  check_terms(a);
  check_norm(a);
}

MemoryFormat layout_of(const Tensor& x) {
  if (x.dim() != 4 || x.is_contiguous()) return MemoryFormat::Contiguous;
  const auto sizes = x.sizes();
  const auto strides = x.strides();
  int64_t expected = 1;
  for (int d : {1, 3, 2, 0}) {
    if (sizes[d] != 1 && strides[d] != expected) return MemoryFormat::Contiguous;
    expected *= sizes[d];
  }
  return MemoryFormat::ChannelsLast;
}

ScalarType accumulation_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

Tensor empty(const Tensor& like, MemoryFormat format) {
  return torch::stable::empty(like.sizes(), like.scalar_type(), std::nullopt, like.device(), std::nullopt, format);
}

Grid grid_of(const Arguments& a, MemoryFormat format) {
  const Tensor& first = a.inputs[0];
  const int64_t numel = first.numel();
  if (std::none_of(a.norm.begin(), a.norm.end(), normalised)) return Grid(numel, 1, numel);
  return grid_of_channels(first, format);
}

Grid grid_of_channels(const Tensor& x, MemoryFormat format) {
  const auto sizes = x.sizes();
  int64_t inner = 1;
  for (size_t d = 2; format == MemoryFormat::Contiguous && d < sizes.size(); ++d) inner *= sizes[d];
  return Grid(x.numel(), sizes[1], inner);
}

bool computes_statistics(const Arguments& a) {
  return !a.mean.has_value() && has(a.norm, Norm::kBatch);
}

Terms::Terms(const Arguments& a)
    : value(numbers(torch::stable::contiguous(a.weights))),
      kept(value.size(), 1),
      total(a.inputs.size(), 0.0),
      alive(a.inputs.size(), 0) {
  if (a.keep.has_value()) {
    const Tensor keep = torch::stable::contiguous(*a.keep);
    std::copy_n(data<bool>(keep), kept.size(), kept.begin());
  }
  for (size_t m = 0; m < value.size(); ++m) {
    if (a.logits) value[m] = 1.0 / (1.0 + std::exp(-value[m]));
    if (!kept[m]) continue;
    total[static_cast<size_t>(a.source[m])] += value[m];
    alive[static_cast<size_t>(a.source[m])] = 1;
  }
}

Statistics::Statistics(const Arguments& a, const Grid& grid)
    : mean(a.inputs.size() * static_cast<size_t>(grid.channels), 0.0), rstd(mean.size(), 1.0) {
  if (!a.mean.has_value()) return;
  const std::vector<double> means = numbers(torch::stable::contiguous(*a.mean));
  const std::vector<double> rstds = numbers(torch::stable::contiguous(*a.rstd));
  const auto channels = static_cast<size_t>(grid.channels);
  for (size_t u = 0; u < a.norm.size(); ++u) {
    if (!normalised(a.norm[u])) continue;
    std::copy_n(means.begin() + static_cast<int64_t>(u * channels), channels,
                mean.begin() + static_cast<int64_t>(u * channels));
    std::copy_n(rstds.begin() + static_cast<int64_t>(u * channels), channels,
                rstd.begin() + static_cast<int64_t>(u * channels));
  }
}

std::vector<size_t> where(const std::vector<char>& use) {
  std::vector<size_t> result;
  for (size_t u = 0; u < use.size(); ++u) {
    if (use[u]) result.push_back(u);
  }
  return result;
}

std::vector<Tensor> dense(const std::vector<Tensor>& inputs, const std::vector<size_t>& which, MemoryFormat format) {
  std::vector<Tensor> result;
  result.reserve(which.size());
  for (size_t u : which) result.push_back(torch::stable::contiguous(inputs[u], format));
  return result;
}

}  // namespace ddarts
