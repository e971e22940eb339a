// Storage types: how a block becomes numbers of the type in which sums are formed, and back.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "../common/check.h"
#include "blocks.h"
#include "stored.h"

namespace ddarts {

template <typename T>
struct Storage {  // float and double are computed on in place
  using Acc = T;
  static constexpr bool kInPlace = true;
  static const Acc* load(const Blocks&, const T* x, Acc*, int64_t) { return x; }
  static Acc* target(T* out, Acc*) { return out; }
  static void store(const Blocks&, T*, const Acc*, int64_t) {}
  static const void* ahead(const T* next, const Acc*) { return next; }
};

// 16-bit storage goes through float32 scratch. Its blocks are read by the conversion, from the first byte to the last,
// which the processor foresees: there is nothing to prefetch while computing on the scratch.
template <typename T>
struct HalfStorage {
  using Acc = float;
  static constexpr bool kInPlace = false;
  static float* target(T*, float* scratch) { return scratch; }
  static const void* ahead(const T*, const float* scratch) { return scratch; }
};

template <>
struct Storage<Bfloat16> : HalfStorage<Bfloat16> {
  static const float* load(const Blocks& k, const Bfloat16* x, float* scratch, int64_t n) {
    k.load_bf16(scratch, x, n);
    return scratch;
  }
  static void store(const Blocks& k, Bfloat16* out, const float* x, int64_t n) { k.store_bf16(out, x, n); }
};

template <>
struct Storage<Float16> : HalfStorage<Float16> {
  static const float* load(const Blocks& k, const Float16* x, float* scratch, int64_t n) {
    k.load_f16(scratch, x, n);
    return scratch;
  }
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

inline void check_floating(torch::headeronly::ScalarType type, const char* name) {
  using torch::headeronly::ScalarType;
  check(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
            type == ScalarType::Half,
        name, " is ", torch::headeronly::toString(type), "; allowed are float32, float64, bfloat16 and float16");
}

// Calls f with a value of the storage type of `type`, a checked one.
template <typename F>
void with_storage(torch::headeronly::ScalarType type, const F& f) {
  using torch::headeronly::ScalarType;
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    case ScalarType::BFloat16:
      return f(Bfloat16{});
    default:
      return f(Float16{});
  }
}

// Whether numbers of this type may be stored as `stored`: as they are, or float32 in half precision.
inline bool may_be_stored(torch::headeronly::ScalarType type, torch::headeronly::ScalarType stored) {
  using torch::headeronly::ScalarType;
  return stored == type || (type == ScalarType::Float && stored == ScalarType::Half);
}

// How numbers of a type with sums in Real are stored.
template <typename Real>
Stored<Real> stored_as(torch::headeronly::ScalarType type) {
  if constexpr (std::is_same_v<Real, float>) {
    using torch::headeronly::ScalarType;
    if (type == ScalarType::BFloat16) {
      return {2,
              [](float* to, const void* from, int64_t n) {
                Storage<Bfloat16>::load(blocks(), static_cast<const Bfloat16*>(from), to, n);
              },
              [](void* to, const float* from, int64_t n) {
                Storage<Bfloat16>::store(blocks(), static_cast<Bfloat16*>(to), from, n);
              }};
    }
    if (type == ScalarType::Half) {
      return {2,
              [](float* to, const void* from, int64_t n) {
                Storage<Float16>::load(blocks(), static_cast<const Float16*>(from), to, n);
              },
              [](void* to, const float* from, int64_t n) {
                Storage<Float16>::store(blocks(), static_cast<Float16*>(to), from, n);
              }};
    }
  }
  return {};
}

// Numbers of a dense tensor to be read in Real, however they are stored.
template <typename Real>
class Numbers {
 public:
  explicit Numbers(const torch::stable::Tensor& x)
      : at_(static_cast<const char*>(x.const_data_ptr())), as_(stored_as<Real>(x.scalar_type())) {}

  Numbers operator+(int64_t n) const {
    Numbers result = *this;
    result.at_ += n * as_.bytes;
    return result;
  }

  // The first n: where they are, or in `scratch`.
  const Real* load(Real* scratch, int64_t n) const {
    if (as_.load == nullptr) return reinterpret_cast<const Real*>(at_);
    as_.load(scratch, at_, n);
    return scratch;
  }

  // What to prefetch before they are read, while computing on `other` (see HalfStorage).
  const void* ahead(const Real* other) const { return as_.load == nullptr ? static_cast<const void*>(at_) : other; }

 private:
  const char* at_;
  Stored<Real> as_;
};

template <typename Real>
std::vector<Numbers<Real>> numbers_of(const std::vector<torch::stable::Tensor>& tensors) {
  return std::vector<Numbers<Real>>(tensors.begin(), tensors.end());
}

template <typename T>
const T* data(const torch::stable::Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

template <typename T>
std::vector<const T*> data(const std::vector<torch::stable::Tensor>& tensors) {
  std::vector<const T*> result;
  result.reserve(tensors.size());
  for (const torch::stable::Tensor& x : tensors) result.push_back(data<T>(x));
  return result;
}

// The numbers of a contiguous tensor of any floating type.
inline std::vector<double> numbers(const torch::stable::Tensor& x) {
  std::vector<double> values(static_cast<size_t>(x.numel()));
  with_storage(x.scalar_type(), [&](auto storage) {
    using S = Storage<decltype(storage)>;
    typename S::Acc scratch[kBlock];
    const auto n = static_cast<int64_t>(values.size());
    for (int64_t at = 0; at < n; at += kBlock) {
      const int64_t some = std::min(kBlock, n - at);
      std::copy_n(S::load(blocks(), data<decltype(storage)>(x) + at, scratch, some), some, values.begin() + at);
    }
  });
  return values;
}

// Whether so many results are written around the caches: they would drive out what is still to be read, and be driven
// out themselves before anyone reads them. Results that are converted from scratch are not.
template <typename T>
bool streams(int64_t results) {
  return Storage<T>::kInPlace && results * static_cast<int64_t>(sizeof(T)) > (int64_t{8} << 20);
}

}  // namespace ddarts
