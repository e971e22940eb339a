// The weighted sum of a node's candidate outputs and its gradients, in one pass over memory.
//
//   out = sum_i w[i] x[i],   grad_x[i] = w[i] grad,   grad_w[i] = <grad, x[i]>
//
// n: number of inputs, x[i]: equal shapes, w: [n]. T is the storage type of x, A the type of every addition (float32,
// or float64 for float64). The work is cut into fixed chunks of blocks; a chunk belongs to one thread and the chunks'
// dot products are added in order, so the bits do not depend on the number of threads.
// A weight of zero is not skipped: 0 * inf is NaN, as in the plain sum.

#include "mixed_sum.h"

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <type_traits>

#include "../common/check.h"
#include "blocks.h"

namespace ddarts {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;

constexpr int64_t kChunk = 8 * kBlock;  // elements a thread takes at a time

// channels_last where x is dense in that order and not already contiguous, else contiguous: the fake kernel's rule.
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

void check_like(const Tensor& first, const Tensor& x, const char* name, size_t index) {
  check(x.is_cpu(), "mixed_sum: ", name, "[", index, "] is not on the CPU");
  check(x.scalar_type() == first.scalar_type(), "mixed_sum: ", name, "[", index, "] is ",
        torch::headeronly::toString(x.scalar_type()), " but inputs[0] is ",
        torch::headeronly::toString(first.scalar_type()));
  const auto expected = first.sizes();
  const auto sizes = x.sizes();
  check(sizes.size() == expected.size() && std::equal(sizes.begin(), sizes.end(), expected.begin()),
        "mixed_sum: ", name, "[", index, "] and inputs[0] differ in shape");
}

void check_arguments(const std::vector<Tensor>& inputs, const Tensor& weights) {
  check(!inputs.empty(), "mixed_sum: inputs is an empty list");
  for (size_t i = 0; i < inputs.size(); ++i) check_like(inputs[0], inputs[i], "inputs", i);
  check(weights.is_cpu(), "mixed_sum: weights is not on the CPU");
  check(weights.dim() == 1 && weights.size(0) == static_cast<int64_t>(inputs.size()), "mixed_sum: weights must be [",
        inputs.size(), "], one number for each input");
  const ScalarType x = inputs[0].scalar_type();
  const ScalarType w = weights.scalar_type();
  const bool half = x == ScalarType::BFloat16 || x == ScalarType::Half;
  check(w == x || (half && w == ScalarType::Float), "mixed_sum: weights is ", torch::headeronly::toString(w),
        " but the inputs are ", torch::headeronly::toString(x));
}

Tensor dense(const Tensor& x, MemoryFormat format) {
  return torch::stable::contiguous(x, format);
}

std::vector<Tensor> dense(const std::vector<Tensor>& tensors, MemoryFormat format) {
  std::vector<Tensor> result;
  result.reserve(tensors.size());
  for (const Tensor& x : tensors) result.push_back(dense(x, format));
  return result;
}

Tensor empty(const Tensor& like, MemoryFormat format) {
  return torch::stable::empty(like.sizes(), like.scalar_type(), std::nullopt, like.device(), std::nullopt, format);
}

// Storage types: how a block becomes numbers of type Acc, and back.
template <typename T>
struct Storage {  // float and double are computed on in place
  using Acc = T;
  static const Acc* load(const Blocks&, const T* x, Acc*, int64_t) { return x; }
  static Acc* target(T* out, Acc*) { return out; }
  static void store(const Blocks&, T*, const Acc*, int64_t) {}
};

template <>
struct Storage<Bfloat16> {
  using Acc = float;
  static const float* load(const Blocks& k, const Bfloat16* x, float* scratch, int64_t n) {
    k.load_bf16(scratch, x, n);
    return scratch;
  }
  static float* target(Bfloat16*, float* scratch) { return scratch; }
  static void store(const Blocks& k, Bfloat16* out, const float* x, int64_t n) { k.store_bf16(out, x, n); }
};

template <>
struct Storage<Float16> {
  using Acc = float;
  static const float* load(const Blocks& k, const Float16* x, float* scratch, int64_t n) {
    k.load_f16(scratch, x, n);
    return scratch;
  }
  static float* target(Float16*, float* scratch) { return scratch; }
  static void store(const Blocks& k, Float16* out, const float* x, int64_t n) { k.store_f16(out, x, n); }
};

template <typename Acc>
const RealBlocks<Acc>& arithmetic(const Blocks& k) {
  if constexpr (std::is_same_v<Acc, double>) {
    return k.f64;
  } else {
    return k.f32;
  }
}

template <typename T>
std::vector<const T*> pointers(const std::vector<Tensor>& tensors) {
  std::vector<const T*> result;
  result.reserve(tensors.size());
  for (const Tensor& x : tensors) result.push_back(static_cast<const T*>(x.const_data_ptr()));
  return result;
}

template <typename T>
std::vector<typename Storage<T>::Acc> weight_values(const Tensor& weights) {
  using Acc = typename Storage<T>::Acc;
  const Tensor flat = dense(weights, MemoryFormat::Contiguous);
  std::vector<Acc> values(static_cast<size_t>(flat.numel()));
  const auto n = static_cast<int64_t>(values.size());
  const void* data = flat.const_data_ptr();
  if (flat.scalar_type() == ScalarType::BFloat16 || flat.scalar_type() == ScalarType::Half) {
    std::vector<float> wide(values.size());
    if (flat.scalar_type() == ScalarType::BFloat16) {
      blocks().load_bf16(wide.data(), static_cast<const Bfloat16*>(data), n);
    } else {
      blocks().load_f16(wide.data(), static_cast<const Float16*>(data), n);
    }
    std::copy(wide.begin(), wide.end(), values.begin());
  } else {
    std::copy_n(static_cast<const Acc*>(data), n, values.begin());  // check_arguments: the type is Acc
  }
  return values;
}

int64_t chunks_of(int64_t numel) {
  return (numel + kChunk - 1) / kChunk;
}

// Where the pass over n elements of x[i] goes on: what it should prefetch. Only an address; it need not be readable.
template <typename T>
const void* following(const std::vector<const T*>& x, size_t i, int64_t at, int64_t n) {
  return i + 1 < x.size() ? x[i + 1] + at : x[0] + at + n;
}

// Calls body(chunk, offset, length) for every block of every chunk, chunks in parallel, blocks of a chunk in order.
template <typename Body>
void for_each_block(int64_t numel, const Body& body) {
  torch::stable::parallel_for(0, chunks_of(numel), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t stop = std::min(numel, (chunk + 1) * kChunk);
      for (int64_t at = chunk * kChunk; at < stop; at += kBlock) body(chunk, at, std::min(kBlock, stop - at));
    }
  });
}

template <typename T>
void forward(const std::vector<Tensor>& inputs, const Tensor& weights, Tensor& out) {
  using S = Storage<T>;
  using Acc = typename S::Acc;
  const Blocks& k = blocks();
  const auto& a = arithmetic<Acc>(k);
  const auto x = pointers<T>(inputs);
  const auto w = weight_values<T>(weights);
  T* result = static_cast<T*>(out.mutable_data_ptr());
  for_each_block(out.numel(), [&](int64_t, int64_t at, int64_t n) {
    Acc value[kBlock], sum[kBlock];
    Acc* target = S::target(result + at, sum);
    a.scale(target, S::load(k, x[0] + at, value, n), w[0], n, following(x, 0, at, n));
    for (size_t i = 1; i < x.size(); ++i) {
      a.add_scaled(target, S::load(k, x[i] + at, value, n), w[i], n, following(x, i, at, n));
    }
    S::store(k, result + at, target, n);
  });
}

// result[chunk, i] = <grad, x[i]> over that chunk.
template <typename T>
std::vector<double> chunk_dots(const Tensor& grad, const std::vector<Tensor>& inputs) {
  using S = Storage<T>;
  using Acc = typename S::Acc;
  const Blocks& k = blocks();
  const auto& a = arithmetic<Acc>(k);
  const auto x = pointers<T>(inputs);
  const T* g = static_cast<const T*>(grad.const_data_ptr());
  std::vector<double> dots(static_cast<size_t>(chunks_of(grad.numel())) * x.size(), 0.0);
  for_each_block(grad.numel(), [&](int64_t chunk, int64_t at, int64_t n) {
    Acc slope_scratch[kBlock], value_scratch[kBlock];
    const Acc* slope = S::load(k, g + at, slope_scratch, n);
    double* sums = &dots[static_cast<size_t>(chunk) * x.size()];
    for (size_t i = 0; i < x.size(); ++i) {
      sums[i] += a.dot(S::load(k, x[i] + at, value_scratch, n), slope, n, following(x, i, at, n));
    }
  });
  return dots;
}

// outputs[i] = w[i] grad, for all i in one pass over grad.
template <typename T>
void scaled_gradients(const Tensor& grad, const Tensor& weights, const std::vector<Tensor>& outputs) {
  using S = Storage<T>;
  using Acc = typename S::Acc;
  const Blocks& k = blocks();
  const auto& a = arithmetic<Acc>(k);
  const auto w = weight_values<T>(weights);
  const T* g = static_cast<const T*>(grad.const_data_ptr());
  std::vector<T*> out;
  for (const Tensor& tensor : outputs) out.push_back(static_cast<T*>(tensor.mutable_data_ptr()));
  for_each_block(grad.numel(), [&](int64_t, int64_t at, int64_t n) {
    Acc slope_scratch[kBlock], sum_scratch[kBlock];
    const Acc* slope = S::load(k, g + at, slope_scratch, n);
    for (size_t i = 0; i < out.size(); ++i) {
      Acc* target = S::target(out[i] + at, sum_scratch);
      a.scale(target, slope, w[i], n, slope);
      S::store(k, out[i] + at, target, n);
    }
  });
}

// Calls f with a value of the storage type of `type`.
template <typename F>
void with_storage(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    case ScalarType::BFloat16:
      return f(Bfloat16{});
    case ScalarType::Half:
      return f(Float16{});
    default:
      check(false, "mixed_sum: inputs are ", torch::headeronly::toString(type),
            "; allowed are float32, float64, bfloat16 and float16");
  }
}

// Adds the chunks' dot products in order and rounds them to the weights' type.
Tensor reduce_dots(const std::vector<double>& dots, const Tensor& weights) {
  Tensor wide = torch::stable::empty(weights.sizes(), ScalarType::Double, std::nullopt, weights.device());
  double* sums = static_cast<double*>(wide.mutable_data_ptr());
  const auto n = static_cast<size_t>(weights.size(0));
  std::fill_n(sums, n, 0.0);
  for (size_t at = 0; at < dots.size(); at += n) {
    for (size_t i = 0; i < n; ++i) sums[i] += dots[at + i];
  }
  if (weights.scalar_type() == ScalarType::Double) return wide;
  return torch::stable::to(wide, weights.scalar_type());
}

}  // namespace

Tensor mixed_sum(std::vector<Tensor> inputs, Tensor weights) {
  check_arguments(inputs, weights);
  const MemoryFormat format = layout_of(inputs[0]);
  Tensor out = empty(inputs[0], format);
  const std::vector<Tensor> x = dense(inputs, format);
  with_storage(out.scalar_type(), [&](auto storage) { forward<decltype(storage)>(x, weights, out); });
  return out;
}

std::tuple<std::vector<Tensor>, Tensor> mixed_sum_backward(Tensor grad, std::vector<Tensor> inputs, Tensor weights,
                                                           bool need_inputs, bool need_weights) {
  check_arguments(inputs, weights);
  check_like(inputs[0], grad, "grad", 0);
  const MemoryFormat format = layout_of(inputs[0]);
  const Tensor g = dense(grad, format);
  std::vector<Tensor> grad_inputs;
  if (need_inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) grad_inputs.push_back(empty(inputs[0], format));
    with_storage(g.scalar_type(), [&](auto storage) { scaled_gradients<decltype(storage)>(g, weights, grad_inputs); });
  }
  if (!need_weights) {
    return {grad_inputs, torch::stable::empty({0}, weights.scalar_type(), std::nullopt, weights.device())};
  }
  const std::vector<Tensor> x = dense(inputs, format);
  std::vector<double> dots;
  with_storage(g.scalar_type(), [&](auto storage) { dots = chunk_dots<decltype(storage)>(g, x); });
  return {grad_inputs, reduce_dots(dots, weights)};
}

}  // namespace ddarts
