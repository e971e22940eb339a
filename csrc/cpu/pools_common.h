// What both passes of the pools share: where windows lie, and the checks and conversions of their tensors.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <initializer_list>

#include "../common/check.h"

namespace ddarts {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Geometry {
  int64_t images, height, width, channels, stride;
  int64_t rows() const { return (height + stride - 1) / stride; }
  int64_t columns() const { return (width + stride - 1) / stride; }
  int64_t pixels() const { return images * rows() * columns(); }
};

// Where a window at `place` begins and ends along one side, in the numbers 0 ... 2 of its taps.
struct Span {
  int64_t begin, end;
  Span(int64_t place, int64_t stride, int64_t size)
      : begin(place == 0 ? 1 : 0), end(std::min<int64_t>(3, size + 1 - place * stride)) {}
  int64_t length() const { return end - begin; }
};

inline void check_tensor(const Tensor& x, std::initializer_list<int64_t> shape, ScalarType type, const char* op,
                         const char* name) {
  check(x.is_cpu(), op, ": ", name, " is not on the CPU");
  check(x.scalar_type() == type, op, ": ", name, " is ", torch::headeronly::toString(x.scalar_type()), "; it must be ",
        torch::headeronly::toString(type));
  const auto sizes = x.sizes();
  check(sizes.size() == shape.size() && std::equal(sizes.begin(), sizes.end(), shape.begin()), op, ": ", name,
        " has the wrong shape");
}

inline bool is_half(ScalarType type) {
  return type == ScalarType::BFloat16 || type == ScalarType::Half;
}

inline ScalarType accumulation_type(ScalarType type, const char* op) {
  check(is_half(type) || type == ScalarType::Float || type == ScalarType::Double, op, ": pixels are ",
        torch::headeronly::toString(type), "; allowed are float32, float64, bfloat16 and float16");
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// `x` dense and of type `wide`.
inline Tensor widened(const Tensor& x, ScalarType wide) {
  return torch::stable::contiguous(x.scalar_type() == wide ? x : torch::stable::to(x, wide));
}

inline Tensor narrowed(const Tensor& x, ScalarType type) {
  return x.scalar_type() == type ? x : torch::stable::to(x, type);
}

inline Tensor empty(std::initializer_list<int64_t> shape, ScalarType type, const Tensor& like) {
  return torch::stable::empty(torch::headeronly::IntHeaderOnlyArrayRef(shape.begin(), shape.size()), type, std::nullopt,
                              like.device());
}

template <typename Real>
const Real* values(const Tensor& x) {
  return static_cast<const Real*>(x.const_data_ptr());
}

template <typename Real>
Real* values_of(Tensor& x) {
  return static_cast<Real*>(x.mutable_data_ptr());
}

}  // namespace ddarts
