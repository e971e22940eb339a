// Launches on the device and the stream of a tensor. Nothing here waits for the device or copies from host memory, so
// that every operator can be captured in a CUDA graph: what the host knows travels as kernel parameters.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/tensor.h>

#include <string>

namespace ddarts {

using torch::stable::Tensor;

constexpr int kThreads = 256;  // of a block, at most

// While it lives, its tensor's device is the current one.
class Queue {
 public:
  explicit Queue(const Tensor& on) : guard_(on.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(on.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  template <typename... Parameters, typename... Arguments>
  void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, const Arguments&... arguments) const {
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.stream = stream_;
    STD_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
  }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace ddarts
