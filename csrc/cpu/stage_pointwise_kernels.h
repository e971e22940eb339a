// The pointwise convolution of blocked arrays and the gradient of its weights: products of small matrices, pixels in
// registers. Legend in stage_plan.h. P pixels and V vectors of outputs stay in registers while all inputs pass by. They
// compute much on little memory, so meanwhile they fetch what the next tile reads or writes, `next`.

// Memory of a tensor's pixels, [pixels][C] numbers of so many bytes; only fetched, so it need not be there.
struct Ahead {
  const char* at;
  int64_t bytes;
};

DDARTS_INLINE Ahead operator+(const Ahead& a, int64_t numbers) {
  return {a.at + numbers * a.bytes, a.bytes};
}

// sum[m][v] = the products of pixel m of z[B][stride pixels][L] with the outputs of block v of weights[V][B * L][L].
template <int P, int V>
DDARTS_INLINE void multiply(Vector (&sum)[P][V], const Real* z, int64_t stride, const Real* weights, int64_t blocks) {
#pragma GCC unroll 16
  for (int m = 0; m < P; ++m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[m][v] = Vector{};
  }
  const int64_t next = blocks * kLanes * kLanes;
  for (int64_t b = 0; b < blocks; ++b, z += stride * kLanes, weights += kLanes * kLanes) {
#pragma GCC unroll 4
    for (int lane = 0; lane < kLanes; ++lane) {
      Vector w[V];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) w[v] = load(weights + v * next + lane * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < P; ++m) {
        const Real value = z[m * kLanes + lane];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[m][v] += value * w[v];
      }
    }
  }
}

// Moments of V blocks of outputs over a tile.
template <int V>
struct Moments {
  Vector shift[V], sum[V], square[V];
};

template <int P, int V>
DDARTS_INLINE void forward_pixels(const StageShape& g, const Real* z, const Real* weights, Real* y, const Ahead& next,
                                  Moments<V>& moments) {
#pragma GCC unroll 16
  for (int m = 0; m < P; ++m) __builtin_prefetch((next + m * g.channels).at, 1);
  Vector value[P][V];
  multiply<P, V>(value, z, g.tile_pixels(), weights, g.blocks);
#pragma GCC unroll 2
  for (int v = 0; v < V; ++v) {
    Vector sum = {}, square = {};  // short sums first: no digits are lost
#pragma GCC unroll 16
    for (int m = 0; m < P; ++m) {
      store(y + m * g.padded() + v * kLanes, value[m][v]);
      const Vector centred = value[m][v] - moments.shift[v];
      sum = m == 0 ? centred : sum + centred;
      square = m == 0 ? centred * centred : square + centred * centred;
    }
    moments.sum[v] += sum;
    moments.square[v] += square;
  }
}

// Pixels in registers: as many as fit beside the weights; fewer at the end of a tile.
template <int V>
constexpr int kMostPixels = V == 1 || DDARTS_REGISTERS == 32 ? 12 : 6;
template <int P>
constexpr int kFewerPixels = P > 4 ? 4 : P / 2;

// Pixels p to `pixels`, P at a time while there are as many.
template <int P, int V>
DDARTS_INLINE void forward_run(const StageShape& g, const Real* z, const Real* weights, Real* y, const Ahead& next,
                               int64_t p, int64_t pixels, Moments<V>& moments) {
  for (; p + P <= pixels; p += P) {
    forward_pixels<P, V>(g, z + p * kLanes, weights, y + p * g.padded(), next + p * g.channels, moments);
  }
  if constexpr (P > 1) forward_run<kFewerPixels<P>, V>(g, z, weights, y, next, p, pixels, moments);
}

// V blocks of outputs of all pixels of a tile, and their moments.
template <int V>
static void forward_blocks(const StageShape g, const Real* z, const Real* weights, Real* y, const Ahead& next,
                           int64_t pixels, double* into) {
  Moments<V> moments = {};
  for (int v = 0; v < V; ++v) {
    for (int lane = 0; lane < kLanes; ++lane) moments.shift[v][lane] = static_cast<Real>(into[v * kLanes + lane]);
  }
  forward_run<kMostPixels<V>, V>(g, z, weights, y, next, 0, pixels, moments);
  for (int v = 0; v < V; ++v) {
    add_to(into + g.padded() + v * kLanes, moments.sum[v]);
    add_to(into + 2 * g.padded() + v * kLanes, moments.square[v]);
  }
}

// y[pixels][B * L] of a tile, whose moments are added to moments[3][B * L]. `next`: y of the next tile.
static void pointwise_forward(const StageShape& g, const Real* z, const Real* weights, Real* y, const Ahead& next,
                              int64_t pixels, double* moments) {
  for (int64_t b = 0; b < g.blocks; b += 2) {
    const int64_t c = b * kLanes;
    const auto run = b + 1 < g.blocks ? forward_blocks<2> : forward_blocks<1>;
    run(g, z, weights + c * g.padded(), y + c, next + c, pixels, moments + c);
  }
}

// The shift of the moments: the mean of y over a tile, which is y at the mean of z.
static void pointwise_shift(const StageShape& g, const Real* z, const Real* weights, int64_t pixels, Real* mean,
                            double* moments) {
  for (int64_t block = 0; block < g.blocks; ++block) {
    Vector sum = {};
    for (int64_t p = 0; p < pixels; ++p) sum += load(z + (block * g.tile_pixels() + p) * kLanes);
    store(mean + block * kLanes, sum / static_cast<Real>(pixels));
  }
  for (int64_t block = 0; block < g.blocks; ++block) {
    Vector value[1][1];
    multiply<1, 1>(value, mean, 1, weights + block * g.padded() * kLanes, g.blocks);
    add_to(moments + block * kLanes, value[0][0]);
  }
}

// What a tile of the backward pass reads.
struct Slopes {
  Ahead grad, y;
};

template <int P, int V>
DDARTS_INLINE void backward_pixels(const StageShape& g, const Real* dy, const Real* weights, Real* out,
                                   const int32_t* offsets, const Slopes& next, int64_t at) {
#pragma GCC unroll 16
  for (int m = 0; m < P; ++m) {
    __builtin_prefetch((next.grad + (at + m * g.channels)).at);
    __builtin_prefetch((next.y + (at + m * g.channels)).at);
  }
  Vector value[P][V];
  multiply<P, V>(value, dy, g.tile_pixels(), weights, g.blocks);
  const int64_t plane = g.out_height * g.g_pitch * kLanes;
#pragma GCC unroll 16
  for (int m = 0; m < P; ++m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) store(out + v * plane + offsets[m], value[m][v]);
  }
}

template <int P, int V>
DDARTS_INLINE void backward_run(const StageShape& g, const Real* dy, const Real* weights, Real* out,
                                const int32_t* offsets, const Slopes& next, int64_t p, int64_t pixels) {
  for (; p + P <= pixels; p += P) {
    backward_pixels<P, V>(g, dy + p * kLanes, weights, out, offsets + p, next, p * g.channels);
  }
  if constexpr (P > 1) backward_run<kFewerPixels<P>, V>(g, dy, weights, out, offsets, next, p, pixels);
}

template <int V>
static void backward_blocks(const StageShape g, const Real* dy, const Real* weights, Real* out, int64_t pixels,
                            const int32_t* offsets, const Slopes& next) {
  backward_run<kMostPixels<V>, V>(g, dy, weights, out, offsets, next, 0, pixels);
}

// The gradient of a tile's depthwise output from dy[B][pixels][L], by the transposed weights, into rows with borders:
// pixel p goes to out[B] + offsets[p].
static void pointwise_backward(const StageShape& g, const Real* dy, const Real* weights, Real* out, int64_t pixels,
                               const int32_t* offsets, const Slopes& next) {
  const int64_t plane = g.out_height * g.g_pitch * kLanes;
  for (int64_t b = 0; b < g.blocks; b += 2) {
    const int64_t c = b * kLanes;
    const auto run = b + 1 < g.blocks ? backward_blocks<2> : backward_blocks<1>;
    run(g, dy, weights + c * g.padded(), out + b * plane, pixels, offsets, {next.grad + c, next.y + c});
  }
}

// out[V][B * L][L] of M inputs += sum over the pixels of z (inputs) times dy (V blocks of outputs).
template <int M, int V>
static void outer_product(const StageShape g, const Real* z, const Real* dy, Real* out, int64_t pixels) {
  const int64_t next = g.tile_pixels() * kLanes;
  Vector sum[M][V] = {};
#pragma GCC unroll 4
  for (int64_t p = 0; p < pixels; ++p) {
    Vector slope[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) slope[v] = load(dy + v * next + p * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Real value = z[p * kLanes + m];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[m][v] += value * slope[v];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      Real* at = out + (v * g.padded() + m) * kLanes;
      store(at, load(at) + sum[m][v]);
    }
  }
}

// All inputs with V blocks of outputs.
template <int V>
static void outer_products(const StageShape& g, const Real* z, const Real* dy, Real* out, int64_t pixels) {
  constexpr int kInputs = least(kLanes, DDARTS_REGISTERS / 2 / V);  // half the registers are sums
  for (int64_t c = 0; c < g.padded(); c += kInputs) {
    const Real* inputs = z + c / kLanes * g.tile_pixels() * kLanes + c % kLanes;
    outer_product<kInputs, V>(g, inputs, dy, out + c * kLanes, pixels);
  }
}

// out[B][B * L inputs][L outputs] += the gradient of the pointwise weights over a tile.
static void pointwise_weight_gradient(const StageShape& g, const Real* z, const Real* dy, Real* out, int64_t pixels) {
  for (int64_t p = 0; p < pixels; p += kLongestSum) {
    const int64_t n = least(kLongestSum, pixels - p);
    for (int64_t b = 0; b < g.blocks; b += 2) {
      const auto run = b + 1 < g.blocks ? outer_products<2> : outer_products<1>;
      run(g, z + p * kLanes, dy + (b * g.tile_pixels() + p) * kLanes, out + b * g.padded() * kLanes, n);
    }
  }
}
