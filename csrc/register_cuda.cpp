// Binds the CUDA kernels to the operators of the namespace `ddarts_cuda`, whose schemas Python declares
// (ddarts/ops/schema.py). The public namespace `ddarts` chooses between backends and calls these.

#include <torch/csrc/stable/library.h>

#include "common/operators.h"
#include "ddarts_build_record.h"

// Which sources this library was built from; Python compares it with the host module's record before any use.
extern "C" __attribute__((visibility("default"))) const char* ddarts_source_hash() {
  return DDARTS_SOURCE_HASH;
}

STABLE_TORCH_LIBRARY_IMPL(ddarts_cuda, CUDA, m) {
  m.impl("mixed_sum", TORCH_BOX(&ddarts::mixed_sum));
  m.impl("mixed_sum_backward", TORCH_BOX(&ddarts::mixed_sum_backward));
  m.impl("threshold", TORCH_BOX(&ddarts::threshold));
}
