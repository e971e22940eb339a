// Binds the CPU kernels to the operators of the namespace `ddarts_cpp`, whose schemas Python declares
// (ddarts/ops/schema.py). The public namespace `ddarts` chooses between backends and calls these.

#include <torch/csrc/stable/library.h>

#include "common/operators.h"
#include "cpu/channel_sums.h"
#include "cpu/node_sum.h"
#include "cpu/pools.h"
#include "cpu/project.h"
#include "cpu/stage.h"
#include "ddarts_build_record.h"

// Which sources this library was built from; Python compares it with the host module's record before any use.
extern "C" __attribute__((visibility("default"))) const char* ddarts_source_hash() {
  return DDARTS_SOURCE_HASH;
}

STABLE_TORCH_LIBRARY_IMPL(ddarts_cpp, CPU, m) {
  m.impl("channel_sums", TORCH_BOX(&ddarts::channel_sums));
  m.impl("mixed_sum", TORCH_BOX(&ddarts::mixed_sum));
  m.impl("mixed_sum_backward", TORCH_BOX(&ddarts::mixed_sum_backward));
  m.impl("node_sum", TORCH_BOX(&ddarts::node_sum));
  m.impl("pools", TORCH_BOX(&ddarts::pools));
  m.impl("pools_backward", TORCH_BOX(&ddarts::pools_backward));
  m.impl("project", TORCH_BOX(&ddarts::project));
  m.impl("project_backward", TORCH_BOX(&ddarts::project_backward));
  m.impl("stage", TORCH_BOX(&ddarts::stage));
  m.impl("stage_backward", TORCH_BOX(&ddarts::stage_backward));
  m.impl("threshold", TORCH_BOX(&ddarts::threshold));
}
