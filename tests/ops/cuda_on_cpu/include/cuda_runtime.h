// Stands in for CUDA's header, so that a host compiler takes csrc/cuda/*.cu unchanged and the kernels run on a CPU.
//
// The threads of a block are fibers: each runs until a barrier or its end, one after another; blocks follow each other.
// That shows wrong indices, sums and barriers that not every thread reaches. Run in the opposite order as well (see
// cuda_on_cpu_reverse), it also shows most races: results must be the same bits.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static  // of one block at a time

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();

using cudaStream_t = void*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719 };

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace cuda_on_cpu {

cudaError_t run(dim3 grid, dim3 block, const std::function<void()>& thread);

}  // namespace cuda_on_cpu

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "kernel parameters are limited to 4 KiB");
  return cuda_on_cpu::run(config->gridDim, config->blockDim, [&] { kernel(arguments...); });
}
