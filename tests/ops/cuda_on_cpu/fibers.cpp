// Runs kernels on fibers, and stands in for the few functions of a CUDA build of torch that the launches call.

#include <cuda_runtime.h>
#include <torch/csrc/stable/c/shim.h>
#include <ucontext.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t kStack = 128 << 10;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
  bool done = false;
};

std::mutex one_kernel;
std::vector<Fiber> fibers;
ucontext_t scheduler;
Fiber* current = nullptr;
const std::function<void()>* body = nullptr;
bool reverse = false;

void run_thread() {
  (*body)();
  current->done = true;
}

size_t ordered(size_t i, size_t count) {
  return reverse ? count - 1 - i : i;
}

// Every thread up to the next barrier or its end; how many have ended.
size_t run_round(size_t threads) {
  size_t ended = 0;
  for (size_t i = 0; i < threads; ++i) {
    const size_t thread = ordered(i, threads);
    current = &fibers[thread];
    if (!current->done) {
      threadIdx = dim3(thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y);
      swapcontext(&scheduler, &current->context);
    }
    ended += current->done;
  }
  return ended;
}

bool run_block(size_t threads) {
  for (size_t i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, run_thread, 0);
  }
  size_t ended = 0;
  while (ended == 0) ended = run_round(threads);
  return ended == threads;  // else some wait at a barrier that the others never reach
}

}  // namespace

void __syncthreads() {
  swapcontext(&current->context, &scheduler);
}

cudaError_t cuda_on_cpu::run(dim3 grid, dim3 block, const std::function<void()>& thread) {
  const std::lock_guard<std::mutex> guard(one_kernel);
  const size_t threads = size_t(block.x) * block.y * block.z, blocks = size_t(grid.x) * grid.y * grid.z;
  const bool fits = threads <= 1024 && block.z <= 64 && grid.x < 1u << 31 && grid.y < 1u << 16 && grid.z < 1u << 16;
  if (threads == 0 || blocks == 0 || !fits) return cudaErrorInvalidConfiguration;
  if (fibers.size() < threads) fibers.resize(threads);
  body = &thread;
  gridDim = grid;
  blockDim = block;
  for (size_t i = 0; i < blocks; ++i) {
    const size_t at = ordered(i, blocks);
    blockIdx = dim3(at % grid.x, at / grid.x % grid.y, at / grid.x / grid.y);
    if (!run_block(threads)) return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

extern "C" {

// Threads and blocks from the last to the first.
__attribute__((visibility("default"))) void cuda_on_cpu_reverse(bool backwards) {
  reverse = backwards;
}

AOTITorchError aoti_torch_get_current_cuda_stream(int32_t, void** stream) {
  *stream = nullptr;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_create_device_guard(int32_t, DeviceGuardHandle* guard) {
  *guard = nullptr;
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError aoti_torch_delete_device_guard(DeviceGuardHandle) {
  return AOTI_TORCH_SUCCESS;
}

AOTITorchError torch_c10_cuda_check_msg(int32_t error, const char*, const char*, uint32_t, bool, char** message) {
  *message = nullptr;
  if (error == cudaErrorInvalidConfiguration) *message = strdup("invalid configuration of a kernel launch");
  if (error == cudaErrorLaunchFailure) *message = strdup("a barrier that not every thread of the block reaches");
  return AOTI_TORCH_SUCCESS;
}

void torch_c10_cuda_free_error_msg(char* message) {
  free(message);
}
}
