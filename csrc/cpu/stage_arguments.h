// The arguments of stage and stage_backward: checked, and brought into the forms that the kernels read.
//
// Legend in stage_plan.h.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <type_traits>
#include <vector>

#include "aligned.h"
#include "stage.h"
#include "stage_plan.h"
#include "storage.h"

namespace ddarts {

using torch::headeronly::ScalarType;

struct StageArguments {
  const char* op;  // for errors
  const Tensor& x;
  const Tensors &depthwise, &pointwise;
  const std::vector<int64_t>& dilation;
  int64_t stride;
  const std::optional<Tensor>&mean, &rstd;
  std::optional<int64_t> groups;  // backward has none, and its statistics have no such dimension
};

// The type of every product and sum: float64 for float64, float32 for anything narrower.
ScalarType accumulation_type(ScalarType type);
template <typename Real>
constexpr ScalarType accumulation_type_of = std::is_same_v<Real, double> ? ScalarType::Double : ScalarType::Float;

void check_arguments(const StageArguments& a);
void check_gradients(const StageArguments& a, const Tensors& grads, const Tensors& y, const Tensor& coefficients);

std::vector<StageKind> kinds_of(const StageArguments& a);

// Everything but the lanes, which are `lanes`, follows from the arguments. `size` is the bytes of a number.
StageShape shape_of(const StageArguments& a, int64_t lanes, int64_t size);

// `x` contiguous and of this type.
Tensor dense(const Tensor& x, ScalarType type);
Tensors dense(const Tensors& tensors, ScalarType type);

// Blocked copies of the arguments, and pointers to them.
template <typename Real>
class StageOperands {
 public:
  // `transposed`: the pointwise weights as backward reads them.
  StageOperands(const StageArguments& a, const StageShape& shape, bool transposed);
  StageInput<Real> input() const;

 private:
  StageShape shape_;
  std::vector<StageKind> kinds_;
  Tensor x_;
  std::vector<Real> mean_, rstd_;
  Aligned<Real> weights_;
  std::vector<const Real*> taps_, pointwise_;
};

// [rows, C] → [rows][B * L]; `otherwise` where there is no tensor.
template <typename Real>
std::vector<Real> padded_rows(const std::optional<Tensor>& tensor, int64_t rows, const StageShape& g, Real otherwise);

}  // namespace ddarts
