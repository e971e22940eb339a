// How the kernels walk over tensors of [N, C, ...].
//
// Legend: a tensor in memory is [O, C, I]: O outer, C channels, I inner (contiguous: N, C, H W; channels_last: N H W,
// C, 1). T storage type, A the type of sums, V elements that a thread loads at once.
// A walk is a table of `columns` x `steps` vectors. A column holds one channel (vectors lie along I) or, where channels
// are innermost, V of them (kAcross). Blocks take a tile of columns and a chunk of steps; threadIdx.x is the column in
// the tile, threadIdx.y the first step. Nothing depends on the device, so neither do the bits of a sum.
#pragma once

#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "launch.cuh"

namespace ddarts {

using torch::headeronly::ScalarType;

constexpr int kMaxInputs = 128;

template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Vector {  // no load is wider than 16 bytes
  T at[V];
};

template <typename T, int V>
__device__ inline Vector<T, V> load(const T* from) {
  return *reinterpret_cast<const Vector<T, V>*>(from);
}

template <typename T, typename A, int V>
__device__ inline void store(T* to, const A (&values)[V]) {
  Vector<T, V> packed;
#pragma unroll
  for (int v = 0; v < V; ++v) packed.at[v] = static_cast<T>(values[v]);
  *reinterpret_cast<Vector<T, V>*>(to) = packed;
}

// Kernel parameters; null where a kernel must not look.
struct Inputs {
  const void* data[kMaxInputs];
};

struct Outputs {
  void* data[kMaxInputs];
};

struct View {
  int64_t outer, channels, inner;
};

struct Walk {
  int64_t channels, inner;
  int64_t columns, steps;
  int64_t vectors;              // in a run of I elements
  int64_t tiles, chunks, span;  // tiles of columns, chunks of `span` steps
  int lanes, rows;              // threads of a block: columns and steps

  dim3 block() const { return dim3(lanes, rows); }
  dim3 grid(int64_t layers = 1) const {
    return dim3(static_cast<unsigned>(tiles * chunks), static_cast<unsigned>(layers));
  }
};

// The element at which the vector of a column and step begins.
template <int V, bool kAcross>
__device__ inline int64_t position(const Walk& walk, int64_t column, int64_t step) {
  if constexpr (kAcross) return step * walk.channels + column * V;
  const int64_t run = step / walk.vectors;
  return (run * walk.channels + column) * walk.inner + (step - run * walk.vectors) * V;
}

// What a thread of a block has to do.
struct Place {
  int64_t chunk, column, first, last;
  bool inside;  // false: a column past the end, nothing to do but wait at barriers

  __device__ explicit Place(const Walk& walk) {
    const int64_t tile = blockIdx.x % walk.tiles;
    chunk = blockIdx.x / walk.tiles;
    column = tile * walk.lanes + threadIdx.x;
    inside = column < walk.columns;
    first = chunk * walk.span + threadIdx.y;
    last = inside ? std::min(walk.steps, (chunk + 1) * walk.span) : 0;
  }
};

// Without its chunks.
inline Walk walk_over(const View& view, int v, bool across) {
  Walk walk = {};
  walk.channels = view.channels;
  walk.inner = view.inner;
  walk.columns = across ? view.channels / v : view.channels;
  walk.steps = across ? view.outer : view.outer * view.inner / v;
  walk.vectors = std::max<int64_t>(1, view.inner / v);
  // Neighbouring threads read neighbouring memory: along the channels where they are innermost, else along the steps.
  const int64_t wide = view.inner == 1 ? std::max<int64_t>(1, walk.columns) : 1;
  walk.tiles = (wide + kThreads - 1) / kThreads;
  walk.lanes = static_cast<int>((wide + walk.tiles - 1) / walk.tiles);
  walk.tiles = (walk.columns + walk.lanes - 1) / walk.lanes;
  walk.rows = static_cast<int>(std::clamp<int64_t>(walk.steps, 1, kThreads / walk.lanes));
  return walk;
}

// Chunks of `rounds` times `depth` steps for every thread.
inline Walk cut(Walk walk, int depth, int64_t rounds) {
  walk.span = rounds * depth * walk.rows;
  walk.chunks = std::max<int64_t>(1, (walk.steps + walk.span - 1) / walk.span);
  return walk;
}

// Every thread takes `depth` steps and no more.
inline Walk elementwise(const View& view, int v, bool across, int depth) {
  return cut(walk_over(view, v, across), depth, 1);
}

// Chunks enough to fill a GPU, `layers` of them side by side, but few enough to be added up quickly. A thread adds at
// most kMaxRounds times `depth` numbers before they become doubles.
inline Walk reduction(const View& view, int v, bool across, int depth, int64_t layers) {
  constexpr int64_t kBlocks = 512, kMaxChunks = 64, kMaxRounds = 64;
  const Walk walk = walk_over(view, v, across);
  const int64_t round = static_cast<int64_t>(walk.rows) * depth;
  const int64_t side = std::max<int64_t>(1, walk.tiles * layers);
  const int64_t wanted = std::clamp<int64_t>(kBlocks / side, 1, kMaxChunks);
  const int64_t rounds = std::max<int64_t>(1, (walk.steps + wanted * round - 1) / (wanted * round));
  return cut(walk, depth, std::min(rounds, kMaxRounds));
}

// Threads of a kernel that works on sums: channels, and chunks side by side.
inline dim3 channel_block(int64_t channels, int64_t chunks) {
  const auto lanes = static_cast<unsigned>(std::clamp<int64_t>(channels, 1, 32));
  return dim3(lanes, static_cast<unsigned>(std::clamp<int64_t>(chunks, 1, kThreads / lanes)));
}

template <typename StorageType, int kWidth, bool kIsAcross>
struct Variant {
  using T = StorageType;
  using A = Accumulator<T>;
  static constexpr int V = kWidth;
  static constexpr bool kAcross = kIsAcross;
};

// Calls f with the variant for a storage type and a view: 16-byte vectors where the shape and every address in
// `addresses` (all of them or-ed together) allow it, else single elements.
template <typename F>
void with_variant(ScalarType type, const View& view, uintptr_t addresses, const F& f) {
  const auto choose = [&](auto storage) {
    using T = decltype(storage);
    constexpr int V = 16 / sizeof(T);
    const bool aligned = addresses % 16 == 0;
    if (aligned && view.inner == 1 && view.channels % V == 0) return f(Variant<T, V, true>{});
    if (aligned && view.inner % V == 0) return f(Variant<T, V, false>{});
    return f(Variant<T, 1, false>{});
  };
  if (type == ScalarType::Double) return f(Variant<double, 1, false>{});  // for checks: not worth vectors
  if (type == ScalarType::Float) return choose(float{});
  if (type == ScalarType::BFloat16) return choose(c10::BFloat16{});
  return choose(c10::Half{});
}

}  // namespace ddarts
