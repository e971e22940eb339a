// The depthwise convolution of blocked arrays and its two gradients. Legend in stage_plan.h; lanes are channels, and
// kColumns neighbouring outputs stay in registers while all taps pass by. The inner functions take the shape by value:
// what they store could otherwise alias it, and every address would be computed anew.
//
// Padding is d * (K / 2), so output (oy, ox) reads u at (oy S + ky d - padding, ox S + kx d - padding).

// The taps ky that meet rows 0 to `rows` at start + ky d.
struct Range {
  int64_t begin, end;
};

static Range rows_met(int64_t start, int64_t dilation, int64_t size, int64_t rows) {
  const int64_t begin = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  const int64_t end = rows <= start ? 0 : (rows - start + dilation - 1) / dilation;
  return {begin, least(size, end)};
}

// z[B][pixels][L], rows y0 to y0 + rows of the output. A row's end is rounded up to kColumns: what lies behind it is
// overwritten by the next row.
template <int K, int D, int S>
static void depthwise_rows(const StageShape g, const StageKind&, const Real* u, const Real* taps, Real* z, int64_t y0,
                           int64_t rows) {
  constexpr int kPadding = D * (K / 2);
  constexpr int kReach = (kColumns - 1) * S + (K - 1) * D + 1;
  for (int64_t b = 0; b < g.blocks; ++b) {
    const Real* plane = u + (b * g.height * g.u_pitch + g.u_left - kPadding) * kLanes;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t start = (y0 + r) * S - kPadding;
      const Range ky = rows_met(start, D, K, g.height);
      Real* out = z + (b * g.tile_pixels() + r * g.out_width) * kLanes;
      for (int64_t x0 = 0; x0 < g.out_width; x0 += kColumns) {
        Vector sum[kColumns] = {};
        for (int64_t k = ky.begin; k < ky.end; ++k) {
          const Real* row = plane + ((start + k * D) * g.u_pitch + x0 * S) * kLanes;
          Vector w[K];
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) w[j] = load(taps + ((b * K + k) * K + j) * kLanes);
#pragma GCC unroll 64
          for (int i = 0; i < kReach; ++i) {
            const Vector value = load(row + i * kLanes);
#pragma GCC unroll 8
            for (int j = 0; j < K; ++j) {
              const int o = i - j * D;
              if (o >= 0 && o % S == 0 && o / S < kColumns) sum[o / S] += value * w[j];
            }
          }
        }
#pragma GCC unroll 8
        for (int o = 0; o < kColumns; ++o) store(out + (x0 + o) * kLanes, sum[o]);
      }
    }
  }
}

// du[B][H][du_pitch][L] = or += the gradient of u, given g, the gradient of z.
template <int K, int D, int S>
static void depthwise_input_gradient(const StageShape g, const StageKind&, const Real* dz, const Real* taps, Real* du,
                                     bool first) {
  constexpr int kPadding = D * (K / 2);
  constexpr int kBefore = kPadding / S;
  constexpr int kReach = kBefore + (kColumns - 1 + kPadding) / S + 1;
  for (int64_t b = 0; b < g.blocks; ++b) {
    const Real* plane = dz + (b * g.out_height * g.g_pitch + g.g_left - kBefore) * kLanes;
    for (int64_t y = 0; y < g.height; ++y) {
      Real* out = du + (b * g.height + y) * g.du_pitch * kLanes;
      for (int64_t x0 = 0; x0 < g.width; x0 += kColumns) {
        Vector sum[kColumns] = {};
        for (int64_t k = 0; k < K; ++k) {
          const int64_t scaled = y + kPadding - k * D;
          if (scaled < 0 || scaled % S != 0 || scaled / S >= g.out_height) continue;
          const Real* row = plane + (scaled / S * g.g_pitch + x0 / S) * kLanes;
          Vector w[K];
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) w[j] = load(taps + ((b * K + k) * K + j) * kLanes);
#pragma GCC unroll 64
          for (int i = 0; i < kReach; ++i) {
            const Vector value = load(row + i * kLanes);
#pragma GCC unroll 8
            for (int j = 0; j < K; ++j) {
              const int o = (i - kBefore) * S + j * D - kPadding;
              if (o >= 0 && o < kColumns) sum[o] += value * w[j];
            }
          }
        }
        if (!first) {  // added at the end: the taps are not rounded to the size of the total
#pragma GCC unroll 8
          for (int o = 0; o < kColumns; ++o) sum[o] += load(out + (x0 + o) * kLanes);
        }
#pragma GCC unroll 8
        for (int o = 0; o < kColumns; ++o) store(out + (x0 + o) * kLanes, sum[o]);
      }
    }
  }
}

// Taps of rows k0 to k0 + G of one block: out[G * K][L] += sum of u g over the pixels of rows y0 to y1 of g. Rows of u
// outside the image are `zeros`. Where G K accumulators are too few to hide the latency of an addition, even and odd
// columns have their own.
template <int K, int D, int S, int G>
static void tap_row_gradients(const StageShape g, const Real* u, const Real* dz, const Real* zeros, Real* out,
                              int64_t k0, int64_t y0, int64_t y1) {
  constexpr int kPadding = D * (K / 2);
  constexpr int kStep = 4;
  constexpr int kReach = (kStep - 1) * S + (K - 1) * D + 1;
  constexpr int kSets = G * K < 8 ? 2 : 1;
  Vector sum[kSets * G][K] = {};
  for (int64_t oy = y0; oy < y1; ++oy) {
    const Real* rows[G];
    for (int r = 0; r < G; ++r) {
      const int64_t y = oy * S + (k0 + r) * D - kPadding;
      rows[r] = y >= 0 && y < g.height ? u + (y * g.u_pitch + g.u_left - kPadding) * kLanes : zeros;
    }
    const Real* slope_row = dz + (oy * g.g_pitch + g.g_left) * kLanes;
    for (int64_t x0 = 0; x0 < g.out_width; x0 += kStep) {
      Vector slope[kStep];
#pragma GCC unroll 4
      for (int o = 0; o < kStep; ++o) slope[o] = load(slope_row + (x0 + o) * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < G; ++r) {
#pragma GCC unroll 64
        for (int i = 0; i < kReach; ++i) {
          const Vector value = load(rows[r] + (x0 * S + i) * kLanes);
#pragma GCC unroll 8
          for (int j = 0; j < K; ++j) {
            const int o = i - j * D;
            if (o >= 0 && o % S == 0 && o / S < kStep) sum[o / S % kSets * G + r][j] += value * slope[o / S];
          }
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < G; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < K; ++j) {
      const Vector total = kSets == 2 ? sum[r][j] + sum[(kSets - 1) * G + r][j] : sum[r][j];
      store(out + (r * K + j) * kLanes, load(out + (r * K + j) * kLanes) + total);
    }
  }
}

// out[B][K * K][L] += the gradient of the taps, for one image.
template <int K, int D, int S>
static void depthwise_tap_gradient(const StageShape& g, const StageKind&, const Real* u, const Real* dz,
                                   const Real* zeros, Real* out) {
  constexpr int kGroup = K == 3 ? 3 : K == 5 ? 2 : 1;
  for (int64_t b = 0; b < g.blocks; ++b) {
    const Real* values = u + b * g.height * g.u_pitch * kLanes;
    const Real* slopes = dz + b * g.out_height * g.g_pitch * kLanes;
    Real* taps = out + b * K * K * kLanes;
    const int64_t rows = rows_of_a_sum(g.out_width);
    for (int64_t y0 = 0; y0 < g.out_height; y0 += rows) {
      const int64_t y1 = least(g.out_height, y0 + rows);
      int k = 0;
      for (; k + kGroup <= K; k += kGroup) {
        tap_row_gradients<K, D, S, kGroup>(g, values, slopes, zeros, taps + k * K * kLanes, k, y0, y1);
      }
      if constexpr (K % kGroup != 0) {
        tap_row_gradients<K, D, S, K % kGroup>(g, values, slopes, zeros, taps + k * K * kLanes, k, y0, y1);
      }
    }
  }
}

// The same three functions for any size, dilation and stride, without the reuse of loaded values.
static void any_rows(const StageShape g, const StageKind& kind, const Real* u, const Real* taps, Real* z, int64_t y0,
                     int64_t rows) {
  const int64_t size = kind.size, padding = kind.padding();
  for (int64_t b = 0; b < g.blocks; ++b) {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t start = (y0 + r) * g.stride - padding;
      const Range ky = rows_met(start, kind.dilation, size, g.height);
      for (int64_t x = 0; x < g.out_width; ++x) {
        Vector sum = {};
        for (int64_t k = ky.begin; k < ky.end; ++k) {
          const int64_t row = (b * g.height + start + k * kind.dilation) * g.u_pitch;
          for (int64_t j = 0; j < size; ++j) {
            const int64_t column = g.u_left - padding + x * g.stride + j * kind.dilation;
            sum += load(u + (row + column) * kLanes) * load(taps + ((b * size + k) * size + j) * kLanes);
          }
        }
        store(z + (b * g.tile_pixels() + r * g.out_width + x) * kLanes, sum);
      }
    }
  }
}

static void any_input_gradient(const StageShape g, const StageKind& kind, const Real* dz, const Real* taps, Real* du,
                               bool first) {
  const int64_t size = kind.size, padding = kind.padding();
  for (int64_t b = 0; b < g.blocks; ++b) {
    for (int64_t y = 0; y < g.height; ++y) {
      for (int64_t x = 0; x < g.width; ++x) {
        Real* out = du + ((b * g.height + y) * g.du_pitch + x) * kLanes;
        Vector sum = first ? Vector{} : load(out);
        for (int64_t tap = 0; tap < size * size; ++tap) {
          const int64_t oy = y + padding - tap / size * kind.dilation, ox = x + padding - tap % size * kind.dilation;
          if (oy < 0 || ox < 0 || oy % g.stride != 0 || ox % g.stride != 0) continue;
          if (oy / g.stride >= g.out_height || ox / g.stride >= g.out_width) continue;
          const int64_t pixel = (b * g.out_height + oy / g.stride) * g.g_pitch + g.g_left + ox / g.stride;
          sum += load(dz + pixel * kLanes) * load(taps + (b * size * size + tap) * kLanes);
        }
        store(out, sum);
      }
    }
  }
}

static void any_tap_gradient(const StageShape& g, const StageKind& kind, const Real* u, const Real* dz, const Real*,
                             Real* out) {
  const int64_t size = kind.size, padding = kind.padding();
  for (int64_t b = 0; b < g.blocks; ++b) {
    for (int64_t tap = 0; tap < size * size; ++tap) {
      const int64_t column = g.u_left - padding + tap % size * kind.dilation;
      Vector sum = {};
      for (int64_t oy = 0; oy < g.out_height; ++oy) {
        const int64_t y = oy * g.stride - padding + tap / size * kind.dilation;
        if (y < 0 || y >= g.height) continue;
        const Real* values = u + ((b * g.height + y) * g.u_pitch + column) * kLanes;
        const Real* slopes = dz + ((b * g.out_height + oy) * g.g_pitch + g.g_left) * kLanes;
        for (int64_t ox = 0; ox < g.out_width; ++ox) {
          sum += load(values + ox * g.stride * kLanes) * load(slopes + ox * kLanes);
        }
      }
      Real* at = out + (b * size * size + tap) * kLanes;
      store(at, load(at) + sum);
    }
  }
}

struct Depthwise {
  void (*rows)(StageShape, const StageKind&, const Real* u, const Real* taps, Real* z, int64_t y0, int64_t rows);
  void (*input_gradient)(StageShape, const StageKind&, const Real* dz, const Real* taps, Real* du, bool first);
  void (*tap_gradient)(const StageShape&, const StageKind&, const Real* u, const Real* dz, const Real* zeros,
                       Real* out);
};

static constexpr Depthwise kDepthwiseOfAnySize = {any_rows, any_input_gradient, any_tap_gradient};

template <int K, int D, int S>
static constexpr Depthwise kDepthwise = {depthwise_rows<K, D, S>, depthwise_input_gradient<K, D, S>,
                                         depthwise_tap_gradient<K, D, S>};

template <int S>
static const Depthwise& depthwise_at_stride(const StageKind& kind) {
  if (kind.size == 3 && kind.dilation == 1) return kDepthwise<3, 1, S>;
  if (kind.size == 5 && kind.dilation == 1) return kDepthwise<5, 1, S>;
  if (kind.size == 3 && kind.dilation == 2) return kDepthwise<3, 2, S>;
  if (kind.size == 5 && kind.dilation == 2) return kDepthwise<5, 2, S>;
  return kDepthwiseOfAnySize;
}

static const Depthwise& depthwise(const StageKind& kind, int64_t stride) {
  if (stride == 1) return depthwise_at_stride<1>(kind);
  if (stride == 2) return depthwise_at_stride<2>(kind);
  return kDepthwiseOfAnySize;
}
