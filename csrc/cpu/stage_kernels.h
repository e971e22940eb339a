// Everything of one instruction set, type and width; included inside a namespace of its own.
// clang-format off: each needs those before it
#include "stage_vector.h"
#include "stage_depthwise_kernels.h"
#include "stage_pointwise_kernels.h"
#include "project_kernels.h"
#include "stage_image_kernels.h"
// clang-format on
#undef DDARTS_INLINE
#undef DDARTS_REAL
#undef DDARTS_LANES
