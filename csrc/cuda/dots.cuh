// For every channel the sum of grad, and of grad (x - centre) for every input that is summed, in chunks.
//
// A block takes kGroup inputs, so that grad is read once for all of them.
// Legend: U inputs, C channels, R steps of a thread at a time; T, A, V, column, step: walk.cuh.
#pragma once

#include "reduce.cuh"
#include "terms.cuh"

namespace ddarts {

constexpr int kDotsDepth = 2, kGroup = 4;

// The inputs begin ... begin + kGroup - 1 as a thread sees them, and its sums.
template <typename Variant>
struct Group {
  using T = typename Variant::T;
  using A = typename Variant::A;
  static constexpr int V = Variant::V, kChannels = Variant::kAcross ? V : 1;

  const T* x[kGroup];
  bool reads[kGroup];
  A centre[kGroup][kChannels];
  A plain[V] = {}, sum[kGroup][V] = {};

  // An input that is not to be read is replaced by grad, which is at hand: no branches between the loads.
  __device__ Group(const Inputs& inputs, const Terms& terms, const Walk& walk, const Place& place, const T* grad,
                   const A* mean, int begin, int count) {
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      const int u = begin + j;
      reads[j] = u < count && terms.summed[u] && terms.alive(u);
      x[j] = reads[j] ? static_cast<const T*>(inputs.data[u]) : grad;
      const bool centred = reads[j] && place.inside && terms.norm[u] != kNone;
#pragma unroll
      for (int i = 0; i < kChannels; ++i) {
        centre[j][i] = centred ? mean[u * walk.channels + place.column * kChannels + i] : A(0);
      }
    }
  }

  __device__ bool reads_any() const {
    bool any = false;
#pragma unroll
    for (int j = 0; j < kGroup; ++j) any = any || reads[j];
    return any;
  }

  __device__ void add(const T* grad, int64_t at) {
    const auto slope = load<T, V>(grad + at);
    Vector<T, V> value[kGroup];
#pragma unroll
    for (int j = 0; j < kGroup; ++j) value[j] = load<T, V>(x[j] + at);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const A g = static_cast<A>(slope.at[v]);
      plain[v] += g;
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        sum[j][v] += g * (static_cast<A>(value[j].at[v]) - centre[j][Variant::kAcross ? v : 0]);
      }
    }
  }
};

// The sums of a block's threads over its rows, to the chunk's place in a row [chunks, C] of `partial`.
template <int kChannels, typename A, int V>
__device__ inline void write_sums(const A (&sums)[V], const Walk& walk, const Place& place, double* shared,
                                  double* row) {
  const int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    double value = 0;
#pragma unroll
    for (int v = i; v < V; v += kChannels) value += sums[v];
    shared[i * threads + thread] = value;
  }
  reduce_rows(shared, kChannels);
  if (threadIdx.y != 0 || !place.inside) return;
  double* target = row + place.chunk * walk.channels + place.column * kChannels;
  for (int i = 0; i < kChannels; ++i) target[i] = shared[i * threads + thread];
}

// partial: [U + 1, chunks, C], row U for the sum of grad. grid.y: groups of inputs.
template <typename Variant>
__global__ void __launch_bounds__(kThreads, 2)
    dots(const __grid_constant__ Inputs inputs, const __grid_constant__ Terms terms, const __grid_constant__ Walk walk,
         const typename Variant::T* grad, const typename Variant::A* mean, int count, double* partial) {
  constexpr int V = Variant::V, R = kDotsDepth, kChannels = Variant::kAcross ? V : 1;
  __shared__ double shared[kThreads * kChannels];
  const int begin = blockIdx.y * kGroup;
  const Place place(walk);
  Group<Variant> group(inputs, terms, walk, place, grad, mean, begin, count);
  if (begin > 0 && !group.reads_any()) return;

  for (int64_t step = place.first; step < place.last; step += int64_t(R) * walk.rows) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int64_t next = step + r * walk.rows;
      if (next < place.last) group.add(grad, position<V, Variant::kAcross>(walk, place.column, next));
    }
  }
  const int64_t size = walk.chunks * walk.channels;
  if (begin == 0) write_sums<kChannels>(group.plain, walk, place, shared, partial + count * size);
#pragma unroll
  for (int j = 0; j < kGroup; ++j) {
    if (group.reads[j]) {
      write_sums<kChannels>(group.sum[j], walk, place, shared, partial + (begin + j) * size);
    }
  }
}

}  // namespace ddarts
