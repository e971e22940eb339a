#include "stage_arguments.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <string>

#include "../common/check.h"
#include "blocks.h"

namespace ddarts {
namespace {

using torch::headeronly::toString;

std::string listed(const int64_t* sizes, size_t n) {
  std::string text = "[";
  for (size_t i = 0; i < n; ++i) text += (i == 0 ? "" : ", ") + std::to_string(sizes[i]);
  return text + "]";
}

void check_shape(const char* op, const std::string& name, const Tensor& tensor, const std::vector<int64_t>& expected) {
  check(tensor.is_cpu(), op, ": ", name, " is not on the CPU");
  const auto sizes = tensor.sizes();
  check(sizes.size() == expected.size() && std::equal(sizes.begin(), sizes.end(), expected.begin()), op, ": ", name,
        " is ", listed(sizes.data(), sizes.size()), ", expected ", listed(expected.data(), expected.size()));
}

// Parameters may be wider than half-precision activations.
void check_type(const char* op, const std::string& name, const Tensor& tensor, ScalarType x) {
  const ScalarType type = tensor.scalar_type();
  check(type == x || type == accumulation_type(x), op, ": ", name, " is ", toString(type), " but x is ", toString(x));
}

// Activations may be in half precision beside float32 gradients.
void check_stored(const char* op, const std::string& name, const Tensor& tensor, const Tensor& grad) {
  check(may_be_stored(grad.scalar_type(), tensor.scalar_type()), op, ": ", name, " is ", toString(tensor.scalar_type()),
        " but grads[0] is ", toString(grad.scalar_type()));
}

std::string at(const char* name, size_t index) {
  return std::string(name) + "[" + std::to_string(index) + "]";
}

void check_kind(const StageArguments& a, size_t s, int64_t edges) {
  const Tensor& d = a.depthwise[s];
  const int64_t channels = a.x.size(4);
  check(d.dim() == 4, a.op, ": ", at("depthwise", s), " has ", d.dim(), " dimensions, expected [E, K, K, C]");
  const int64_t size = d.size(1);
  check(size % 2 == 1, a.op, ": ", at("depthwise", s), " has ", size, " taps in a row, expected an odd number");
  check_shape(a.op, at("depthwise", s), d, {edges, size, size, channels});
  check_shape(a.op, at("pointwise", s), a.pointwise[s], {edges, channels, channels});
  check_type(a.op, at("depthwise", s), d, a.x.scalar_type());
  check_type(a.op, at("pointwise", s), a.pointwise[s], a.x.scalar_type());
  check(a.dilation[s] >= 1, a.op, ": ", at("dilation", s), " is ", a.dilation[s], ", expected 1 or more");
}

int64_t strided(int64_t size, int64_t stride) {
  return (size + stride - 1) / stride;
}

// out[B][blocked_rows][L] of count rows of C numbers, which are row_step and step apart.
template <typename Real>
void block_rows(const Real* rows, int64_t count, int64_t row_step, int64_t step, const StageShape& g, Real* out,
                int64_t blocked_rows) {
  for (int64_t b = 0; b < g.blocks; ++b) {
    const int64_t lanes = std::min(g.lanes, g.channels - b * g.lanes);
    for (int64_t r = 0; r < count; ++r) {
      const Real* row = rows + r * row_step + b * g.lanes * step;
      Real* to = out + (b * blocked_rows + r) * g.lanes;
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = row[lane * step];
    }
  }
}

}  // namespace

ScalarType accumulation_type(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

void check_arguments(const StageArguments& a) {
  check(a.x.is_cpu(), a.op, ": x is not on the CPU");
  check(a.x.dim() == 5, a.op, ": x has ", a.x.dim(), " dimensions, expected [X, N, H, W, C]");
  const ScalarType type = a.x.scalar_type();
  check(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
            type == ScalarType::Half,
        a.op, ": x is ", toString(type), "; allowed are float32, float64, bfloat16 and float16");
  check(a.x.size(4) > 0, a.op, ": x has no channels");
  check(!a.depthwise.empty(), a.op, ": depthwise is an empty list");
  check(a.pointwise.size() == a.depthwise.size() && a.dilation.size() == a.depthwise.size(), a.op, ": depthwise has ",
        a.depthwise.size(), " entries, pointwise ", a.pointwise.size(), " and dilation ", a.dilation.size());
  check(a.stride >= 1, a.op, ": stride is ", a.stride, ", expected 1 or more");
  const int64_t edges = a.depthwise[0].dim() == 4 ? a.depthwise[0].size(0) : 0;
  for (size_t s = 0; s < a.depthwise.size(); ++s) check_kind(a, s, edges);
  check(edges > 0, a.op, ": depthwise[0] has no edges");
  const int64_t inputs = a.x.size(0);
  check(inputs == 1 || inputs == edges, a.op, ": x has ", inputs, " inputs, expected 1 or ", edges);
  check(a.mean.has_value() == a.rstd.has_value(), a.op, ": mean and rstd go together");
  const int64_t groups = a.groups.value_or(1);
  check(groups >= 1 && a.x.size(1) % groups == 0, a.op, ": groups is ", groups, " for ", a.x.size(1), " images");
  if (!a.mean) return;
  std::vector<int64_t> expected = {inputs, a.x.size(4)};
  if (a.groups) expected.insert(expected.begin(), groups);
  check_shape(a.op, "mean", *a.mean, expected);
  check_shape(a.op, "rstd", *a.rstd, expected);
}

void check_gradients(const StageArguments& a, const Tensors& grads, const Tensors& y, const Tensor& coefficients) {
  const int64_t edges = a.depthwise[0].size(0), kinds = static_cast<int64_t>(a.depthwise.size());
  const int64_t images = a.x.size(1), channels = a.x.size(4);
  const int64_t height = strided(a.x.size(2), a.stride), width = strided(a.x.size(3), a.stride);
  check(static_cast<int64_t>(grads.size()) == kinds * edges, a.op, ": grads has ", grads.size(), " entries, expected ",
        kinds * edges);
  check(static_cast<int64_t>(y.size()) == kinds, a.op, ": y has ", y.size(), " entries, expected ", kinds);
  check_stored(a.op, "x", a.x, grads[0]);
  for (size_t i = 0; i < grads.size(); ++i) {
    check_shape(a.op, at("grads", i), grads[i], {images, height, width, channels});
    check_stored(a.op, at("grads", i), grads[i], grads[0]);
  }
  for (size_t s = 0; s < y.size(); ++s) {
    check_shape(a.op, at("y", s), y[s], {edges, images, height, width, channels});
    check_stored(a.op, at("y", s), y[s], grads[0]);
    check(y[s].scalar_type() == y[0].scalar_type(), a.op, ": ", at("y", s), " and y[0] differ in type");
  }
  check_shape(a.op, "coefficients", coefficients, {kinds, edges, 3, channels});
}

std::vector<StageKind> kinds_of(const StageArguments& a) {
  std::vector<StageKind> kinds;
  for (size_t s = 0; s < a.depthwise.size(); ++s) kinds.push_back({a.depthwise[s].size(1), a.dilation[s]});
  return kinds;
}

StageShape shape_of(const StageArguments& a, int64_t lanes, int64_t size) {
  StageShape g = {};
  g.inputs = a.x.size(0);
  g.edges = a.depthwise[0].size(0);
  g.kinds = static_cast<int64_t>(a.depthwise.size());
  g.images = a.x.size(1);
  g.height = a.x.size(2);
  g.width = a.x.size(3);
  g.channels = a.x.size(4);
  g.stride = a.stride;
  g.groups = a.groups.value_or(1);
  g.out_height = strided(g.height, g.stride);
  g.out_width = strided(g.width, g.stride);
  g.lanes = lanes;
  g.blocks = rounded_up(g.channels, lanes) / lanes;
  const int64_t row_bytes = std::max<int64_t>(1, g.out_width) * g.padded() * size;
  g.tile_rows = std::clamp<int64_t>(kTileBytes / row_bytes, 1, std::max<int64_t>(1, g.out_height));
  int64_t padding = 0;
  for (const StageKind& kind : kinds_of(a)) padding = std::max(padding, kind.padding());
  // The kernels compute kColumns neighbours even where fewer are wanted, and read what those would need.
  const int64_t columns = rounded_up(g.out_width, kColumns);
  g.du_pitch = rounded_up(g.width, kColumns);
  g.u_left = padding;
  g.u_pitch = padding + std::max(g.width, (columns - 1) * g.stride + 1) + padding;
  g.g_left = padding / g.stride;
  g.g_pitch = g.g_left + std::max(columns, g.du_pitch / g.stride) + padding / g.stride + 1;
  return g;
}

Tensor dense(const Tensor& x, ScalarType type) {
  return torch::stable::contiguous(x.scalar_type() == type ? x : torch::stable::to(x, type));
}

Tensors dense(const Tensors& tensors, ScalarType type) {
  Tensors result;
  result.reserve(tensors.size());
  for (const Tensor& x : tensors) result.push_back(dense(x, type));
  return result;
}

template <typename Real>
std::vector<Real> padded_rows(const std::optional<Tensor>& tensor, int64_t rows, const StageShape& g, Real otherwise) {
  std::vector<Real> result(static_cast<size_t>(rows * g.padded()), tensor ? Real{0} : otherwise);
  if (!tensor) return result;
  const Tensor values = dense(*tensor, accumulation_type_of<Real>);
  const Real* from = static_cast<const Real*>(values.const_data_ptr());
  for (int64_t r = 0; r < rows; ++r) std::copy_n(from + r * g.channels, g.channels, &result[r * g.padded()]);
  return result;
}

template <typename Real>
StageOperands<Real>::StageOperands(const StageArguments& a, const StageShape& shape, bool transposed)
    : shape_(shape), kinds_(kinds_of(a)), x_(dense(a.x, a.x.scalar_type())) {
  const StageShape& g = shape_;
  mean_ = padded_rows<Real>(a.mean, g.groups * g.inputs, g, 0);
  rstd_ = padded_rows<Real>(a.rstd, g.groups * g.inputs, g, 1);
  int64_t size = 0;
  for (const StageKind& kind : kinds_) size += g.edges * g.padded() * (kind.taps() + g.padded());
  weights_ = Aligned<Real>(size);
  Real* out = weights_.data();
  for (size_t s = 0; s < kinds_.size(); ++s) {
    const Tensor d = dense(a.depthwise[s], accumulation_type_of<Real>);
    const Tensor p = dense(a.pointwise[s], accumulation_type_of<Real>);
    const Real* taps = static_cast<const Real*>(d.const_data_ptr());
    const Real* pointwise = static_cast<const Real*>(p.const_data_ptr());
    const int64_t channels = g.channels, count = kinds_[s].taps();
    for (int64_t e = 0; e < g.edges; ++e) {
      taps_.push_back(out);
      block_rows(taps + e * count * channels, count, channels, 1, g, out, count);
      out += count * g.padded();
      pointwise_.push_back(out);
      const int64_t row = transposed ? 1 : channels, column = transposed ? channels : 1;
      block_rows(pointwise + e * channels * channels, channels, row, column, g, out, g.padded());
      out += g.padded() * g.padded();
    }
  }
}

template <typename Real>
StageInput<Real> StageOperands<Real>::input() const {
  return {shape_,        stored_as<Real>(x_.scalar_type()),
          kinds_.data(), static_cast<const char*>(x_.const_data_ptr()),
          mean_.data(),  rstd_.data(),
          taps_.data(),  pointwise_.data()};
}

template class StageOperands<float>;
template class StageOperands<double>;
template std::vector<float> padded_rows(const std::optional<Tensor>&, int64_t, const StageShape&, float);
template std::vector<double> padded_rows(const std::optional<Tensor>&, int64_t, const StageShape&, double);

}  // namespace ddarts
