// One chunk of images through the stage and back. Legend in stage_plan.h.

struct Edges {
  int64_t begin, end;
};

// The edges that read this input.
static Edges readers(const StageShape& g, int64_t input) {
  return g.inputs == 1 ? Edges{0, g.edges} : Edges{input, input + 1};
}

DDARTS_INLINE Vector normalized(const Vector& x, const Vector& mean, const Vector& rstd) {
  return (x - mean) * rstd;
}

// Whether pixels of a tensor, [pixels][C], are as the kernels read and write them: [pixels][B * L] of Real.
static bool in_place(const StageShape& g, const Stored<Real>& as) {
  return as.load == nullptr && g.channels == g.padded();
}

// How pixels are moved: in runs, as long as the two forms agree.
struct Runs {
  int64_t count, length, step;  // numbers of a run, and from one to the next in the kernels' form

  Runs(const StageShape& g, int64_t pixels)
      : count(g.channels == g.padded() ? 1 : pixels),
        length(pixels * g.channels / count),
        step(pixels * g.padded() / count) {}
};

// Pixels as the kernels read them: where they are, or in a buffer.
static const Real* widened(const StageShape& g, const Stored<Real>& as, const char* from, int64_t pixels,
                           Real* buffer) {
  if (in_place(g, as)) return reinterpret_cast<const Real*>(from);
  const Runs runs(g, pixels);
  for (int64_t i = 0; i < runs.count; ++i, from += runs.length * as.bytes) {
    Real* to = buffer + i * runs.step;
    if (as.load != nullptr) {
      as.load(to, from, runs.length);
    } else {
      __builtin_memcpy(to, from, static_cast<size_t>(runs.length) * sizeof(Real));
    }
    for (int64_t c = runs.length; c < runs.step; ++c) to[c] = 0;
  }
  return buffer;
}

// Where the kernels write pixels, for `narrow` to bring them to their place.
static Real* target(const StageShape& g, const Stored<Real>& as, char* to, Real* buffer) {
  return in_place(g, as) ? reinterpret_cast<Real*>(to) : buffer;
}

static void narrow(const StageShape& g, const Stored<Real>& as, const Real* from, int64_t pixels, char* to) {
  if (in_place(g, as)) return;
  const Runs runs(g, pixels);
  for (int64_t i = 0; i < runs.count; ++i, from += runs.step, to += runs.length * as.bytes) {
    if (as.store != nullptr) {
      as.store(to, from, runs.length);
    } else {
      __builtin_memcpy(to, from, static_cast<size_t>(runs.length) * sizeof(Real));
    }
  }
}

static int64_t buffer_size(const StageShape& g) {
  return (g.tile_pixels() + g.width + kLongestSum) * g.padded();
}

constexpr int64_t kAhead = 1024;  // numbers: the rows of x are read once, faster than the processor fetches on its own

// u[B][H][u_pitch][L] = ReLU(z) of one image; NaN stays NaN.
static void fill(const StageInput<Real>& in, const StageChunk<Real>& chunk, int64_t image, Real* u, Real* buffer) {
  const StageShape g = in.shape;
  const int64_t input = chunk.input, statistics = (chunk.group * g.inputs + input) * g.padded();
  for (int64_t y = 0; y < g.height; ++y) {
    const int64_t row = ((input * g.images + image) * g.height + y) * g.width * g.channels;
    const Real* x = widened(g, in.x_as, in.x + row * in.x_as.bytes, g.width, buffer);
    for (int64_t b = 0; b < g.blocks; ++b) {
      const Vector mean = load(in.mean + statistics + b * kLanes);
      const Vector rstd = load(in.rstd + statistics + b * kLanes);
      Real* out = u + ((b * g.height + y) * g.u_pitch + g.u_left) * kLanes;
      for (int64_t p = 0; p < g.width; ++p) {
        __builtin_prefetch(x + p * g.padded() + b * kLanes + kAhead);
        const Vector z = normalized(load(x + p * g.padded() + b * kLanes), mean, rstd);
        store(out + p * kLanes, z < 0 ? Vector{} : z);
      }
    }
  }
}

static int64_t u_size(const StageShape& g) {
  return g.blocks * g.height * g.u_pitch * kLanes;
}

static int64_t tile_size(const StageShape& g) {
  return g.blocks * g.tile_pixels() * kLanes;
}

static int64_t forward_scratch(const StageShape& g) {
  return u_size(g) + tile_size(g) + g.padded() + buffer_size(g);
}

static void forward(const StageForward<Real>& job, const StageChunk<Real>& chunk, Real* scratch) {
  const StageShape& g = job.in.shape;
  const Edges edges = readers(g, chunk.input);
  const int64_t pixel_bytes = g.channels * job.y_as.bytes;
  Real* u = scratch;
  Real* z = u + u_size(g);
  Real* mean = z + tile_size(g);
  Real* buffer = mean + g.padded();
  for (int64_t n = chunk.begin; n < chunk.end; ++n) {
    fill(job.in, chunk, n, u, buffer);
    for (int64_t k = edges.begin * g.kinds; k < edges.end * g.kinds; ++k) {
      const int64_t s = k % g.kinds, at = s * g.edges + k / g.kinds;
      const Depthwise& dw = depthwise(job.in.kinds[s], g.stride);
      const Real* weights = job.in.pointwise[at];
      char* y = job.y[s] + (k / g.kinds * g.images + n) * g.out_pixels() * pixel_bytes;
      for (int64_t y0 = 0; y0 < g.out_height; y0 += g.tile_rows) {
        const int64_t rows = least(g.tile_rows, g.out_height - y0), pixels = rows * g.out_width;
        dw.rows(g, job.in.kinds[s], u, job.in.taps[at], z, y0, rows);
        if (n == chunk.begin && y0 == 0) pointwise_shift(g, z, weights, pixels, mean, chunk.moments[at]);
        char* tile = y + y0 * g.out_width * pixel_bytes;
        Real* out = target(g, job.y_as, tile, buffer);
        const Ahead next = {tile + pixels * pixel_bytes, job.y_as.bytes};
        pointwise_forward(g, z, weights, out, next, pixels, chunk.moments[at]);
        narrow(g, job.y_as, out, pixels, tile);
      }
    }
  }
}

// What backward works with.
struct Workspace {
  Real *u, *z, *dy, *g, *du, *zeros, *buffer, *other_buffer;
  int32_t* offsets;
};

static int64_t g_size(const StageShape& g) {
  return g.blocks * g.out_height * g.g_pitch * kLanes;
}

static int64_t du_size(const StageShape& g) {
  return g.blocks * g.height * g.du_pitch * kLanes;
}

static int64_t backward_scratch(const StageShape& g) {
  const int64_t offsets = rounded_up(g.tile_pixels(), kLanes);
  return u_size(g) + 2 * tile_size(g) + g_size(g) + du_size(g) + g.u_pitch * kLanes + 2 * buffer_size(g) + offsets;
}

static Workspace workspace(const StageShape& g, Real* scratch) {
  Workspace w;
  w.u = scratch;
  w.z = w.u + u_size(g);
  w.dy = w.z + tile_size(g);
  w.g = w.dy + tile_size(g);
  w.du = w.g + g_size(g);
  w.zeros = w.du + du_size(g);
  w.buffer = w.zeros + g.u_pitch * kLanes;
  w.other_buffer = w.buffer + buffer_size(g);
  w.offsets = reinterpret_cast<int32_t*>(w.other_buffer + buffer_size(g));
  for (int64_t p = 0; p < g.tile_rows * g.out_width; ++p) {
    w.offsets[p] = static_cast<int32_t>((p / g.out_width * g.g_pitch + p % g.out_width) * kLanes);
  }
  return w;
}

// dy[B][pixels][L] of a tile, from [pixels][B * L].
static void output_gradient(const StageShape g, const Real* grad, const Real* y, const Real* coefficients, Real* dy,
                            int64_t pixels) {
  for (int64_t b = 0; b < g.blocks; ++b) {
    const Vector of_grad = load(coefficients + b * kLanes);
    const Vector of_y = load(coefficients + g.padded() + b * kLanes);
    const Vector constant = load(coefficients + 2 * g.padded() + b * kLanes);
    Real* out = dy + b * g.tile_pixels() * kLanes;
    for (int64_t p = 0; p < pixels; ++p) {
      const int64_t at = p * g.padded() + b * kLanes;
      store(out + p * kLanes, of_grad * load(grad + at) + (of_y * load(y + at) + constant));
    }
  }
}

static Slopes slopes(const StageBackward<Real>& job, int64_t s, int64_t e, int64_t image) {
  const StageShape& g = job.in.shape;
  const int64_t size = g.out_pixels() * g.channels;
  const Ahead grad = {job.grads[s * g.edges + e], job.grads_as.bytes}, y = {job.y[s], job.y_as.bytes};
  return {grad + image * size, y + (e * g.images + image) * size};
}

// One kind and edge of one image: adds to du and to the gradients of the weights.
static void kernel_backward(const StageBackward<Real>& job, const StageChunk<Real>& chunk, const Workspace& w,
                            int64_t s, int64_t e, int64_t image, bool first) {
  const StageShape& g = job.in.shape;
  const StageKind& kind = job.in.kinds[s];
  const Depthwise& dw = depthwise(kind, g.stride);
  const int64_t at = s * g.edges + e;
  Slopes tile = slopes(job, s, e, image);
  for (int64_t y0 = 0; y0 < g.out_height; y0 += g.tile_rows) {
    const int64_t rows = least(g.tile_rows, g.out_height - y0), pixels = rows * g.out_width;
    const Real* grad = widened(g, job.grads_as, tile.grad.at, pixels, w.buffer);
    const Real* y = widened(g, job.y_as, tile.y.at, pixels, w.other_buffer);
    output_gradient(g, grad, y, job.coefficients + 3 * at * g.padded(), w.dy, pixels);
    tile = {tile.grad + pixels * g.channels, tile.y + pixels * g.channels};
    if (y0 + rows == g.out_height && s + 1 < g.kinds) tile = slopes(job, s + 1, e, image);
    Real* out = w.g + (y0 * g.g_pitch + g.g_left) * kLanes;
    pointwise_backward(g, w.dy, job.in.pointwise[at], out, pixels, w.offsets, tile);
    if (!job.need_weights) continue;
    dw.rows(g, kind, w.u, job.in.taps[at], w.z, y0, rows);
    pointwise_weight_gradient(g, w.z, w.dy, chunk.pointwise[at], pixels);
  }
  dw.input_gradient(g, kind, w.g, job.in.taps[at], w.du, first);
  if (job.need_weights) dw.tap_gradient(g, kind, w.u, w.g, w.zeros, chunk.taps[at]);
}

// dz[H][W][C] = du where the ReLU was open, and its sums.
static void through_relu(const StageBackward<Real>& job, const StageChunk<Real>& chunk, const Workspace& w,
                         int64_t image) {
  const StageShape g = job.in.shape;
  const int64_t step = rows_of_a_sum(g.width), first = (chunk.input * g.images + image) * g.height;
  for (int64_t y0 = 0; y0 < g.height; y0 += step) {
    const int64_t y1 = least(g.height, y0 + step), pixels = (y1 - y0) * g.width;
    const int64_t from = (first + y0) * g.width * g.channels;
    const Real* x = widened(g, job.in.x_as, job.in.x + from * job.in.x_as.bytes, pixels, w.buffer);
    char* dz = job.dz + from * job.grads_as.bytes;
    Real* out = target(g, job.grads_as, dz, w.other_buffer);
    for (int64_t b = 0; b < g.blocks; ++b) {
      const Vector mean = load(job.in.mean + chunk.input * g.padded() + b * kLanes);
      const Vector rstd = load(job.in.rstd + chunk.input * g.padded() + b * kLanes);
      Vector sum = {}, product = {};
      int64_t at = b * kLanes;
      for (int64_t y = y0; y < y1; ++y) {
        const Real* slope = w.du + (b * g.height + y) * g.du_pitch * kLanes;
        for (int64_t p = 0; p < g.width; ++p, at += g.padded()) {
          __builtin_prefetch(x + at + kAhead);
          const Vector z = normalized(load(x + at), mean, rstd);
          const Vector open = z <= 0 ? Vector{} : load(slope + p * kLanes);
          store(out + at, open);
          sum += open;
          product += open * z;
        }
      }
      add_to(chunk.sums + b * kLanes, sum);
      add_to(chunk.sums + g.padded() + b * kLanes, product);
    }
    narrow(g, job.grads_as, out, pixels, dz);
  }
}

static void backward(const StageBackward<Real>& job, const StageChunk<Real>& chunk, Real* scratch) {
  const StageShape& g = job.in.shape;
  const Edges edges = readers(g, chunk.input);
  const Workspace w = workspace(g, scratch);
  for (int64_t n = chunk.begin; n < chunk.end; ++n) {
    if (job.need_weights) fill(job.in, chunk, n, w.u, w.buffer);
    bool first = true;
    for (int64_t e = edges.begin; e < edges.end; ++e) {
      for (int64_t s = 0; s < g.kinds; ++s, first = false) kernel_backward(job, chunk, w, s, e, n, first);
    }
    through_relu(job, chunk, w, n);
  }
}

static const StageTable<Real> table = {kLanes,           forward_scratch,
                                       backward_scratch, forward,
                                       backward,         {product, open_relu, tile_moments, output_slopes, gate}};
