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

// For each of `width` numbers of a thread, adds those of all rows of the block (threadIdx.y) to row 0's, where the
// caller finds them. `shared` holds number i of a thread at i * threads + thread. Two steps with a barrier after each:
// the rows in kParts interleaved parts, then the parts. Begins and ends at a barrier.
template <typename Value>
__device__ inline void reduce_rows(Value* shared, int width) {
  constexpr int kParts = 16;
  const int lanes = blockDim.x, rows = blockDim.y, threads = lanes * rows, columns = lanes * width;
  const int thread = threadIdx.y * lanes + threadIdx.x, parts = rows < kParts ? rows : kParts;
  __syncthreads();
  for (int i = thread; i < columns * parts; i += threads) {
    const int column = i % columns, part = i / columns;
    Value* rest = shared + column / lanes * threads + column % lanes;
    for (int row = part + parts; row < rows; row += parts) accumulate(rest[part * lanes], rest[row * lanes]);
  }
  __syncthreads();
  for (int column = thread; column < columns; column += threads) {
    Value* rest = shared + column / lanes * threads + column % lanes;
    for (int part = 1; part < parts; ++part) accumulate(rest[0], rest[part * lanes]);
  }
  __syncthreads();
}

}  // namespace ddarts
