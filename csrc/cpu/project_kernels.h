// Products of small matrices and what surrounds them in project; see project_plan.h. Like the other kernels included
// once per instruction set, type and width.

// M rows and V panels in registers while the whole depth passes by.
template <int M, int V>
DDARTS_INLINE void product_tile(const Product<Real>& p, int64_t row, int64_t panel, const bool add) {
  const Real* a = p.a + row * p.a_row;
  const Real* b = p.b + panel * p.b_panel;
  Vector sum[M][V];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[m][v] = Vector{};
  }
  for (int64_t k = 0; k < p.depth; ++k) {
    Vector w[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) w[v] = load(b + k * p.b_step + v * p.b_panel);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Real value = a[m * p.a_row + k * p.a_step];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[m][v] += value * w[v];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      Real* out = p.out + (row + m) * p.out_row + (panel + v) * kLanes;
      store(out, add ? load(out) + sum[m][v] : sum[m][v]);
    }
  }
}

template <int M, int V>
DDARTS_INLINE void product_rows(const Product<Real>& p, int64_t row, int64_t panel, const bool add) {
  for (; row + M <= p.rows; row += M) product_tile<M, V>(p, row, panel, add);
  if constexpr (M > 1) product_rows<kFewerPixels<M>, V>(p, row, panel, add);
}

template <int V>
static void product_panels(const Product<Real> p, int64_t panel, const bool add) {
  if (add) {
    product_rows<kMostPixels<V>, V>(p, 0, panel, true);
  } else {
    product_rows<kMostPixels<V>, V>(p, 0, panel, false);
  }
}

static void product(const Product<Real>& p, bool add) {
  int64_t panel = 0;
  for (; panel + 2 <= p.panels; panel += 2) product_panels<2>(p, panel, add);
  if (panel < p.panels) product_panels<1>(p, panel, add);
}

static void open_relu(const Real* x, int64_t n, Real* out) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    const Vector v = load(x + j);
    store(out + j, v < 0 ? Vector{} : v);
  }
  for (; j < n; ++j) out[j] = x[j] < 0 ? 0 : x[j];
}

static void tile_moments(const Real* tile, int64_t pixels, int64_t width, bool first, double* moments) {
  for (int64_t c = 0; c < width; c += kLanes) {
    Vector shift = {}, sum = {}, square = {};
    if (first) {
      for (int64_t p = 0; p < pixels; ++p) shift += load(tile + p * width + c);
      add_to(moments + c, shift / static_cast<Real>(pixels));
    }
    for (int lane = 0; lane < kLanes; ++lane) shift[lane] = static_cast<Real>(moments[c + lane]);
    for (int64_t p = 0; p < pixels; ++p) {
      const Vector centred = load(tile + p * width + c) - shift;
      sum += centred;
      square += centred * centred;
    }
    add_to(moments + width + c, sum);
    add_to(moments + 2 * width + c, square);
  }
}

static void output_slopes(const Real* grad, const Real* y, const Real* c, int64_t step, int64_t n, Real* out) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    store(out + j, load(c + j) * load(grad + j) + (load(c + step + j) * load(y + j) + load(c + 2 * step + j)));
  }
  for (; j < n; ++j) out[j] = c[j] * grad[j] + (c[step + j] * y[j] + c[2 * step + j]);
}

static void gate(const Real* x, const Real* value, int64_t n, Real* out) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) store(out + j, load(x + j) <= 0 ? Vector{} : load(value + j));
  for (; j < n; ++j) out[j] = x[j] <= 0 ? 0 : value[j];
}
