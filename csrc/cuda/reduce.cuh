// Sums over the threads of a block, always in the same order.
#pragma once

#include "launch.cuh"

namespace ddarts {

// Mean and squared deviations of `count` numbers; two of them merge without cancellation (Chan, Golub, LeVeque 1979).
struct Moments {
  double count, mean, square;

  __device__ void merge(const Moments& other) {
    if (other.count == 0) return;
    const double total = count + other.count, share = other.count / total, gap = other.mean - mean;
    mean += gap * share;
    square += other.square + gap * gap * count * share;
    count = total;
  }
};

__device__ inline void accumulate(Moments& sum, const Moments& part) {
  sum.merge(part);
}

__device__ inline void accumulate(double& sum, double part) {
  sum += part;
}

// For each of `width` numbers of a thread, adds those of all rows of the block to row 0, where the caller finds them.
// `shared` holds number i of a thread at i * threads + thread. Begins and ends at a barrier.
template <typename Value>
__device__ inline void reduce_rows(Value* shared, int width) {
  const int row = threadIdx.y, rows = blockDim.y, threads = blockDim.x * blockDim.y;
  Value* mine = shared + row * blockDim.x + threadIdx.x;
  int half = 1;
  while (half < rows) half *= 2;
  __syncthreads();
  for (half /= 2; half > 0; half /= 2) {
    if (row < half && row + half < rows) {
      for (int i = 0; i < width; ++i) accumulate(mine[i * threads], mine[i * threads + half * blockDim.x]);
    }
    __syncthreads();
  }
}

}  // namespace ddarts
