// What mixed_sum and its backward pass are asked to do: checked arguments, in a form the loops can use.
//
// Legend: U inputs of one shape, C channels, n terms; term m weighs input source[m].
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "grid.h"

namespace ddarts {

using torch::stable::Tensor;

enum class Norm : int64_t { kNone = 0, kBatch = 1, kFixed = 2 };

inline bool is(int64_t norm, Norm kind) {
  return norm == static_cast<int64_t>(kind);
}

// The arguments that both operators have, as they come.
struct Arguments {
  const std::vector<Tensor>& inputs;
  const Tensor& weights;
  const std::vector<int64_t>& source;
  const std::vector<int64_t>& norm;
  const std::optional<Tensor>& mean;
  const std::optional<Tensor>& rstd;
  const std::optional<Tensor>& keep;
  bool logits;
};

// Throws when an argument does not fit; nothing is read out of bounds after it.
void check_arguments(const Arguments& arguments);

// The same for channel_sums, which reads inputs like `grad`, or in half precision beside it.
void check_summed(const Arguments& arguments, const Tensor& grad);

// Throws unless `x` is on the CPU, with the dtype and shape of `first`.
void check_like(const Tensor& first, const Tensor& x, const std::string& name);

// The layout of every result, and the one in which inputs are read: channels_last where the first input is dense in
// that order and not already contiguous, else contiguous.
torch::headeronly::MemoryFormat layout_of(const Tensor& x);

Tensor empty(const Tensor& like, torch::headeronly::MemoryFormat format);

// The (outer, C, inner) view of tensors in `format`; without BN, one channel.
Grid grid_of(const Arguments& arguments, torch::headeronly::MemoryFormat format);

// The same of x [N, C, ...], with its channels in any case.
Grid grid_of_channels(const Tensor& x, torch::headeronly::MemoryFormat format);

// Whether the forward pass finds the statistics itself.
bool computes_statistics(const Arguments& arguments);

// Float64 for float64, else float32.
torch::headeronly::ScalarType accumulation_type(const Tensor& x);

// What the weights say.
struct Terms {
  std::vector<double> value;  // [n], sigma applied to logits
  std::vector<char> kept;     // [n]
  std::vector<double> total;  // [U], the sum of an input's kept weights
  std::vector<char> alive;    // [U], whether a kept term reads the input

  explicit Terms(const Arguments& arguments);
};

// [U, C]; inputs without BN have mean 0 and rstd 1.
struct Statistics {
  std::vector<double> mean, rstd;

  Statistics(const Arguments& arguments, const Grid& grid);  // what is given; else 0 and 1 everywhere
};

// The inputs that `use` says yes to.
std::vector<size_t> where(const std::vector<char>& use);

// The inputs `which`, dense in `format`; no other is looked at.
std::vector<Tensor> dense(const std::vector<Tensor>& inputs, const std::vector<size_t>& which,
                          torch::headeronly::MemoryFormat format);

}  // namespace ddarts
