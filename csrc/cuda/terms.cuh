// The terms of a weighted sum, sorted by the input they read, as a kernel parameter.
//
// Legend: U inputs, n terms; term m weighs input source[m]. An input that no kept term reads is not alive.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "walk.cuh"

namespace ddarts {

constexpr int kMaxTerms = 1024;

enum Norm : uint8_t { kNone = 0, kBatch = 1, kFixed = 2 };

struct Terms {
  const bool* keep;  // null: every term is kept
  uint16_t first[kMaxInputs + 1];
  uint16_t term[kMaxTerms];  // those of input u are term[first[u] .. first[u + 1])
  uint8_t norm[kMaxInputs];
  bool summed[kMaxInputs];  // whether a kernel that adds up over the channels has to read the input

  __device__ bool kept(int m) const { return keep == nullptr || keep[m]; }

  __device__ bool alive(int u) const {
    for (int i = first[u]; i < first[u + 1]; ++i) {
      if (kept(term[i])) return true;
    }
    return false;
  }
};

// In double: there are few of them, and everything is multiplied by them.
template <typename A>
__device__ inline double value_of(A weight, bool logits) {
  return logits ? 1 / (1 + std::exp(-double(weight))) : double(weight);
}

// The sum of the kept weights of an input.
template <typename A>
__device__ inline double total_weight(const Terms& terms, const A* weights, bool logits, int u) {
  double total = 0;
  for (int i = terms.first[u]; i < terms.first[u + 1]; ++i) {
    if (terms.kept(terms.term[i])) total += value_of(weights[terms.term[i]], logits);
  }
  return total;
}

inline Terms sort_terms(const std::vector<int64_t>& source, const std::vector<int64_t>& norm, const bool* keep) {
  Terms terms = {};
  terms.keep = keep;
  for (int64_t u : source) ++terms.first[u + 1];
  for (size_t u = 0; u < norm.size(); ++u) {
    terms.norm[u] = static_cast<uint8_t>(norm[u]);
    terms.first[u + 1] = static_cast<uint16_t>(terms.first[u] + terms.first[u + 1]);
  }
  uint16_t next[kMaxInputs];
  std::copy_n(terms.first, kMaxInputs, next);
  for (size_t m = 0; m < source.size(); ++m) terms.term[next[source[m]]++] = static_cast<uint16_t>(m);
  return terms;
}

}  // namespace ddarts
