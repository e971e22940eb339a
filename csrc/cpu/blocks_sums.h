// Included by blocks.cpp after blocks_real.h, in the same namespace: sums over a block.
//
// Four accumulators hide the latency of the addition. A step of the period is taken through the whole block at a time,
// so its accumulators stay in registers; they go to double after kDepth additions, which bounds their rounding errors.

constexpr int64_t kDepth = 16;

// How far accumulators may go from step j: kDepth steps.
DDARTS_INLINE int64_t stop_after(int64_t j, int64_t stride, int64_t n) {
  const int64_t stop = j + kDepth * stride;
  return stop < n ? stop : n;
}

// Adds four vectors of sums to their places in the period (one place, when it is constant).
DDARTS_INLINE void flush(double* sums, const Vector* parts, const bool constant) {
  if (constant) {
    const Vector folded = (parts[0] + parts[1]) + (parts[2] + parts[3]);
    double whole = 0.0;
    for (int64_t lane = 0; lane < kLanes; ++lane) whole += static_cast<double>(folded[lane]);
    sums[0] += whole;
  } else {
    DDARTS_REAL lanes[kStep];  // through memory: a loop over vector elements is not vectorised
    __builtin_memcpy(lanes, parts, sizeof(lanes));
    for (int64_t lane = 0; lane < kStep; ++lane) sums[lane] += static_cast<double>(lanes[lane]);
  }
}

// sums[j] += grad[j] (x[j] - mean[j]), or grad[j] alone
DDARTS_INLINE void dot_case(double* sums, const DDARTS_REAL* grad, const DDARTS_REAL* x, const DDARTS_REAL* mean,
                            int64_t period, int64_t n, const void* next, const bool constant, const bool alone) {
  const int64_t stride = constant ? kStep : period;
  for (int64_t lane = 0; lane < stride && lane < n; lane += kStep) {
    int64_t j = lane;
    while (j + kStep <= n) {
      Vector parts[4] = {};
      const int64_t stop = stop_after(j, stride, n);
      for (; j + kStep <= stop; j += stride) {
        if (!alone) prefetch(next, j);
        for (int64_t v = 0; v < 4; ++v) {
          const int64_t at = j + v * kLanes;
          if (alone) {
            parts[v] += DDARTS_LOAD(grad + at);
          } else {
            parts[v] += DDARTS_LOAD(grad + at) * (DDARTS_LOAD(x + at) - DDARTS_COEFFICIENTS(mean, lane + v * kLanes));
          }
        }
      }
      flush(sums + lane, parts, constant);
    }
    for (int64_t at = lane; j < n; ++j, at += !constant) {
      sums[at] += static_cast<double>(grad[j]) * (alone ? 1.0 : static_cast<double>(x[j] - mean[at]));
    }
  }
}

static void total(double* sums, const DDARTS_REAL* x, int64_t period, int64_t n) {
  if (period == 1) {
    dot_case(sums, x, nullptr, nullptr, period, n, nullptr, true, true);
  } else {
    dot_case(sums, x, nullptr, nullptr, period, n, nullptr, false, true);
  }
}

static void dot(double* sums, const DDARTS_REAL* grad, const DDARTS_REAL* x, const DDARTS_REAL* mean, int64_t period,
                int64_t n, const void* next) {
  if (period == 1) {
    dot_case(sums, grad, x, mean, period, n, next, true, false);
  } else {
    dot_case(sums, grad, x, mean, period, n, next, false, false);
  }
}

DDARTS_INLINE void moments_case(double* first, double* second, const DDARTS_REAL* x, const DDARTS_REAL* shift,
                                int64_t period, int64_t n, const void* next, const bool constant) {
  const int64_t stride = constant ? kStep : period;
  for (int64_t lane = 0; lane < stride && lane < n; lane += kStep) {
    int64_t j = lane;
    while (j + kStep <= n) {
      Vector values[4] = {}, squares[4] = {};
      const int64_t stop = stop_after(j, stride, n);
      for (; j + kStep <= stop; j += stride) {
        prefetch(next, j);
        for (int64_t v = 0; v < 4; ++v) {
          const Vector moved = DDARTS_LOAD(x + j + v * kLanes) - DDARTS_COEFFICIENTS(shift, lane + v * kLanes);
          values[v] += moved;
          squares[v] += moved * moved;
        }
      }
      flush(first + lane, values, constant);
      flush(second + lane, squares, constant);
    }
    for (int64_t at = lane; j < n; ++j, at += !constant) {
      const double moved = static_cast<double>(x[j] - shift[at]);
      first[at] += moved;
      second[at] += moved * moved;
    }
  }
}

static void moments(double* first, double* second, const DDARTS_REAL* x, const DDARTS_REAL* shift, int64_t period,
                    int64_t n, const void* next) {
  if (period == 1) {
    moments_case(first, second, x, shift, period, n, next, true);
  } else {
    moments_case(first, second, x, shift, period, n, next, false);
  }
}

#undef DDARTS_INLINE
#undef DDARTS_LOAD
#undef DDARTS_COEFFICIENTS
