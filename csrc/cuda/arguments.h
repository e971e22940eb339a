// What the CUDA operators are given, checked: called around the public operator they refuse rather than read past an
// end. Messages name the argument. Devices are compared, not named, so that these sources also run in the CPU tests.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "../common/check.h"
#include "terms.cuh"

namespace ddarts {

using torch::headeronly::MemoryFormat;
using torch::headeronly::toString;

inline ScalarType accumulator_type(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// channels_last where x is dense in that order and not already contiguous, else contiguous: the fake kernel's rule.
inline MemoryFormat layout_of(const Tensor& x) {
  if (x.dim() != 4 || x.is_contiguous()) return MemoryFormat::Contiguous;
  int64_t expected = 1;
  for (int d : {1, 3, 2, 0}) {
    if (x.size(d) != 1 && x.stride(d) != expected) return MemoryFormat::Contiguous;
    expected *= x.size(d);
  }
  return MemoryFormat::ChannelsLast;
}

inline Tensor empty(std::vector<int64_t> sizes, ScalarType type, const Tensor& beside,
                    MemoryFormat format = MemoryFormat::Contiguous) {
  return torch::stable::empty(sizes, type, std::nullopt, beside.device(), std::nullopt, format);
}

inline Tensor empty_like(const Tensor& x, MemoryFormat format) {
  return torch::stable::empty(x.sizes(), x.scalar_type(), std::nullopt, x.device(), std::nullopt, format);
}

inline void check_device(const Tensor& first, const Tensor& x, const char* op, const char* name) {
  check(x.device() == first.device(), op, ": ", name, " is on another device than the first tensor");
}

inline void check_like(const Tensor& first, const Tensor& x, const char* name) {
  check_device(first, x, "mixed_sum", name);
  check(x.scalar_type() == first.scalar_type(), "mixed_sum: ", name, " has ", toString(x.scalar_type()),
        " but inputs[0] is ", toString(first.scalar_type()));
  const auto sizes = x.sizes(), expected = first.sizes();
  check(sizes.size() == expected.size() && std::equal(sizes.begin(), sizes.end(), expected.begin()),
        "mixed_sum: ", name, " and inputs[0] differ in shape");
}

inline void check_float(const Tensor& x, const char* op, const char* name) {
  const ScalarType type = x.scalar_type();
  check(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
            type == ScalarType::Half,
        op, ": ", name, " has ", toString(type), "; allowed are float32, float64, bfloat16 and float16");
}

// The arguments that forward and backward share, checked; all but the inputs are dense.
struct Arguments {
  std::vector<Tensor> inputs;
  Tensor weights;
  std::vector<int64_t> source, norm;
  std::optional<Tensor> mean, rstd, keep;
  bool logits;

  Arguments(std::vector<Tensor> inputs_, Tensor weights_, std::vector<int64_t> source_, std::vector<int64_t> norm_,
            std::optional<Tensor> mean_, std::optional<Tensor> rstd_, std::optional<Tensor> keep_, bool logits_)
      : inputs(std::move(inputs_)),
        weights(std::move(weights_)),
        source(std::move(source_)),
        norm(std::move(norm_)),
        mean(std::move(mean_)),
        rstd(std::move(rstd_)),
        keep(std::move(keep_)),
        logits(logits_) {
    check_inputs();
    check_terms();
    check_statistics();
    weights = torch::stable::contiguous(weights);
    for (std::optional<Tensor>* x : {&mean, &rstd, &keep}) {
      if (*x) *x = torch::stable::contiguous(**x);
    }
  }

  const Tensor& first() const { return inputs[0]; }
  ScalarType type() const { return first().scalar_type(); }
  ScalarType wide() const { return accumulator_type(type()); }
  int64_t count() const { return static_cast<int64_t>(inputs.size()); }
  bool computed() const { return !mean && has(kBatch); }
  bool has(Norm kind) const { return std::find(norm.begin(), norm.end(), kind) != norm.end(); }

  Tensor wide_weights() const { return torch::stable::to(weights, wide()); }

  // O, C and I of a tensor in a layout; without normalisation there is but one channel.
  View view(MemoryFormat format) const {
    const Tensor& x = first();
    if (!has(kBatch) && !has(kFixed)) return {1, 1, x.numel()};
    const int64_t n = x.size(0), c = x.size(1);
    int64_t rest = 1;
    for (int64_t d = 2; d < x.dim(); ++d) rest *= x.size(d);
    if (c == 1) return {1, 1, n * rest};
    return format == MemoryFormat::ChannelsLast ? View{n * rest, c, 1} : View{n, c, rest};
  }

 private:
  void check_inputs() const {
    check(!inputs.empty(), "mixed_sum: inputs is an empty list");
    check(count() <= kMaxInputs, "mixed_sum: inputs has ", count(), " tensors; the cuda backend takes at most ",
          kMaxInputs, " (use triton or reference)");
    check_float(first(), "mixed_sum", "inputs");
    for (const Tensor& x : inputs) check_like(first(), x, "a tensor of inputs");
  }

  void check_terms() const {
    const auto terms = static_cast<int64_t>(source.size());
    check(terms <= kMaxTerms, "mixed_sum: weights has ", terms, " terms; the cuda backend takes at most ", kMaxTerms,
          " (use triton or reference)");
    check_device(first(), weights, "mixed_sum", "weights");
    check(weights.dim() == 1 && weights.size(0) == terms, "mixed_sum: weights must be [", terms, "]");
    check(weights.scalar_type() == type() || weights.scalar_type() == wide(), "mixed_sum: weights is ",
          toString(weights.scalar_type()), " but the inputs are ", toString(type()));
    for (int64_t u : source)
      check(u >= 0 && u < count(), "mixed_sum: source has ", u, ", there are ", count(), " inputs");
    check(norm.size() == inputs.size(), "mixed_sum: norm has ", norm.size(), " entries for ", count(), " inputs");
    for (int64_t kind : norm)
      check(kind >= kNone && kind <= kFixed, "mixed_sum: norm has ", kind, "; allowed are 0, 1, 2");
    if (!keep) return;
    check_device(first(), *keep, "mixed_sum", "keep");
    check(keep->scalar_type() == ScalarType::Bool && keep->dim() == 1 && keep->size(0) == terms,
          "mixed_sum: keep must be torch.bool [", terms, "]");
  }

  void check_statistics() const {
    check(mean.has_value() == rstd.has_value(), "mixed_sum: mean and rstd belong together: give both or neither");
    if (has(kBatch) || has(kFixed)) check(first().dim() >= 2, "mixed_sum: inputs need [N, C, ...] to be normalised");
    if (!mean) {
      check(!has(kFixed), "mixed_sum: fixed statistics need mean and rstd");
      return;
    }
    check(first().dim() >= 2, "mixed_sum: inputs need [N, C, ...] beside mean and rstd");
    for (const auto& [x, name] : {std::pair{&*mean, "mean"}, std::pair{&*rstd, "rstd"}}) {
      check_device(first(), *x, "mixed_sum", name);
      check(x->scalar_type() == wide() && x->dim() == 2 && x->size(0) == count() && x->size(1) == first().size(1),
            "mixed_sum: ", name, " must be ", toString(wide()), " [", count(), ", ", first().size(1), "]");
    }
  }
};

// The elements of a dense tensor; of none, null.
template <typename T>
T* data(const Tensor& x) {
  if constexpr (std::is_const_v<T>)
    return static_cast<T*>(x.const_data_ptr());
  else
    return static_cast<T*>(x.mutable_data_ptr());
}

template <typename T>
T* data(const std::optional<Tensor>& x) {
  return x ? data<T>(*x) : nullptr;
}

// Dense copies (the tensors themselves where they are dense) of those inputs that a kernel reads, and their addresses.
struct Dense {
  std::vector<Tensor> alive;  // keeps copies from being freed before the launch
  Inputs inputs = {};
  uintptr_t addresses = 0;

  void add(size_t u, const Tensor& x, MemoryFormat format) {
    alive.push_back(torch::stable::contiguous(x, format));
    inputs.data[u] = alive.back().const_data_ptr();
    addresses |= reinterpret_cast<uintptr_t>(inputs.data[u]);
  }

  void copy(size_t u, const Dense& from) {
    inputs.data[u] = from.inputs.data[u];
    addresses |= reinterpret_cast<uintptr_t>(inputs.data[u]);
  }
};

}  // namespace ddarts
