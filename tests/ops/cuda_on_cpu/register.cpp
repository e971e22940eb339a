// Binds the CUDA kernels, run by fibers, to CPU tensors: what csrc/register_cuda.cpp does for CUDA tensors.

#include <torch/csrc/stable/library.h>

#include "common/operators.h"

STABLE_TORCH_LIBRARY_IMPL(ddarts_cuda, CPU, m) {
  m.impl("mixed_sum", TORCH_BOX(&ddarts::mixed_sum));
  m.impl("mixed_sum_backward", TORCH_BOX(&ddarts::mixed_sum_backward));
  m.impl("threshold", TORCH_BOX(&ddarts::threshold));
}
