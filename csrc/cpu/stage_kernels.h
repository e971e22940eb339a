// Everything of one instruction set, type and width; included inside a namespace of its own.
#include "stage_depthwise_kernels.h"
#include "stage_image_kernels.h"
#include "stage_pointwise_kernels.h"
#include "stage_vector.h"
#undef DDARTS_INLINE
#undef DDARTS_REAL
#undef DDARTS_LANES
