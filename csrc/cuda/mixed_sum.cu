// The node of a cell: out = sum_u a[u, c] (x[u] - centre[u, c]), where a is the kept weight of an input, times its rstd
// if it is normalised. The mean is subtracted from the element, not from the sum: no cancellation.
//
//   statistics    mean and variance of every channel of every BATCH input, in chunks   reads x
//   coefficients  merges the chunks; a and centre of the alive inputs, side by side
//   apply         the sum                                                             reads x, writes out
//
// Legend: U inputs, C channels, R steps of a thread at a time; T, A, V, column, step: walk.cuh.

#include <cmath>

#include "../common/operators.h"
#include "arguments.h"
#include "reduce.cuh"

namespace ddarts {
namespace {

constexpr int kStatisticsDepth = 4, kApplyDepth = 2;

template <typename A>
struct alignas(2 * sizeof(A)) Affine {
  A scale, centre;
};

// Moments of V channels side by side; every one of them has seen as many elements.
template <typename A, int V>
struct Running {
  double count = 0, mean[V] = {}, square[V] = {};

  // Adds the first n of R elements of each channel: exactly about their own mean, then merged in doubles.
  template <typename T, int R>
  __device__ void add(const Vector<T, V> (&x)[R], int n) {
    const double total = count + n, share = n / total, cross = count * share;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const A base = static_cast<A>(x[0].at[v]);
      A sum = 0, spread = 0;
#pragma unroll
      for (int r = 1; r < R; ++r) sum += r < n ? static_cast<A>(x[r].at[v]) - base : A(0);
      const A shift = sum / n;
#pragma unroll
      for (int r = 0; r < R; ++r) {
        const A gap = static_cast<A>(x[r].at[v]) - base - shift;
        spread += r < n ? gap * gap : A(0);
      }
      const double gap = double(base) - mean[v] + shift;
      mean[v] += gap * share;
      square[v] += spread + gap * gap * cross;
    }
    count = total;
  }
};

// partial: [U, chunks, C]. grid.y: U.
template <typename Variant>
__global__ void __launch_bounds__(kThreads, 2)
    statistics(const __grid_constant__ Inputs inputs, const __grid_constant__ Terms terms,
               const __grid_constant__ Walk walk, Moments* partial) {
  using T = typename Variant::T;
  using A = typename Variant::A;
  constexpr int V = Variant::V, R = kStatisticsDepth, kChannels = Variant::kAcross ? V : 1;
  __shared__ Moments shared[kThreads * kChannels];
  const int u = blockIdx.y;
  if (!terms.summed[u] || !terms.alive(u)) return;

  const T* x = static_cast<const T*>(inputs.data[u]);
  const Place place(walk);
  Running<A, V> running;
  for (int64_t step = place.first; step < place.last; step += int64_t(R) * walk.rows) {
    Vector<T, V> loaded[R] = {};
    int n = 0;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int64_t at = step + r * walk.rows;
      if (at >= place.last) continue;
      loaded[r] = load<T, V>(x + position<V, Variant::kAcross>(walk, place.column, at));
      n = r + 1;
    }
    running.add(loaded, n);
  }
  const int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    Moments moments = {running.count, running.mean[i], running.square[i]};
#pragma unroll
    for (int v = 1; v < V / kChannels; ++v) moments.merge({running.count, running.mean[v], running.square[v]});
    shared[i * threads + thread] = moments;
  }
  reduce_rows(shared, kChannels);
  if (threadIdx.y != 0 || !place.inside) return;
  Moments* target = partial + (u * walk.chunks + place.chunk) * walk.channels + place.column * kChannels;
  for (int i = 0; i < kChannels; ++i) target[i] = shared[i * threads + thread];
}

// What `coefficients` knows of the statistics [U, C]: given ones to read or, where `partial` is there, computed ones.
template <typename A>
struct Statistics {
  const Moments* partial;  // [U, chunks, C]
  int64_t chunks;
  double eps;
  A *mean, *rstd;

  // The share of a thread in the moments of a channel.
  __device__ Moments part(int u, int64_t c, int64_t channels) const {
    Moments moments = {};
    for (int64_t chunk = threadIdx.y; chunk < chunks; chunk += blockDim.y) {
      moments.merge(partial[(u * chunks + chunk) * channels + c]);
    }
    return moments;
  }

  __device__ Affine<A> normalise(const Moments& moments) const {
    const double variance = moments.square / (moments.count == 0 ? 1 : moments.count);
    return {static_cast<A>(1 / std::sqrt(variance + eps)), static_cast<A>(moments.mean)};
  }
};

// The place of an input among those that are alive; the first block also writes the list of them.
__device__ inline int list_alive(const Terms& terms, int u, int inputs, int thread, int threads, int* live) {
  __shared__ bool alive[kMaxInputs];
  for (int i = thread; i < inputs; i += threads) alive[i] = terms.alive(i);
  __syncthreads();
  int before = 0;
  for (int i = 0; i < u; ++i) before += alive[i];
  if (u == 0 && thread == 0) {
    int count = 0;
    for (int i = 0; i < inputs; ++i) {
      if (alive[i]) live[++count] = i;
    }
    live[0] = count;
  }
  return before;
}

// live: how many inputs are alive, then which. affine: [alive, C]. grid.x: U; threads: channels, chunks.
template <typename A>
__global__ void __launch_bounds__(kThreads, 2)
    coefficients(const __grid_constant__ Terms terms, const __grid_constant__ Statistics<A> statistics,
                 const A* weights, bool logits, int64_t channels, int* live, Affine<A>* affine) {
  __shared__ Moments shared[kThreads];
  const int u = blockIdx.x, threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
  const int place = list_alive(terms, u, gridDim.x, thread, threads, live);
  const double weight = total_weight(terms, weights, logits, u);
  const bool alive = terms.alive(u), computed = statistics.partial != nullptr;
  const bool merged = computed && alive && terms.summed[u], given = !computed && terms.norm[u] != kNone;
  for (int64_t begin = 0; begin < channels; begin += blockDim.x) {
    const int64_t c = begin + threadIdx.x, at = u * channels + c;
    shared[thread] = merged && c < channels ? statistics.part(u, c, channels) : Moments{};
    reduce_rows(shared, 1);
    if (threadIdx.y != 0 || c >= channels) continue;
    Affine<A> f = {1, 0};
    if (merged) f = statistics.normalise(shared[thread]);
    if (given) f = {statistics.rstd[at], statistics.mean[at]};
    if (computed) {
      statistics.rstd[at] = f.scale;
      statistics.mean[at] = f.centre;
    }
    if (alive) affine[place * channels + c] = {static_cast<A>(weight * f.scale), f.centre};
  }
}

template <typename Variant>
__global__ void __launch_bounds__(kThreads, 3)
    apply(const __grid_constant__ Inputs inputs, const __grid_constant__ Walk walk, const int* live,
          const Affine<typename Variant::A>* affine, typename Variant::T* out) {
  using T = typename Variant::T;
  using A = typename Variant::A;
  constexpr int V = Variant::V, R = kApplyDepth, kChannels = Variant::kAcross ? V : 1;
  const Place place(walk);
  if (place.first >= place.last) return;

  int64_t at[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {  // a step past the end reads the first one again and is not written
    const int64_t step = place.first + r * walk.rows;
    at[r] = position<V, Variant::kAcross>(walk, place.column, step < place.last ? step : place.first);
  }
  A sum[R][V] = {};
  const int count = live[0];
#pragma unroll 2
  for (int i = 0; i < count; ++i) {
    const T* x = static_cast<const T*>(inputs.data[live[1 + i]]);
    Vector<T, V> loaded[R];
#pragma unroll
    for (int r = 0; r < R; ++r) loaded[r] = load<T, V>(x + at[r]);
    const auto factor = load<Affine<A>, kChannels>(affine + i * walk.channels + place.column * kChannels);
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const Affine<A>& f = factor.at[Variant::kAcross ? v : 0];
        sum[r][v] += f.scale * (static_cast<A>(loaded[r].at[v]) - f.centre);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (place.first + r * walk.rows < place.last) store(out + at[r], sum[r]);
  }
}

// [U, chunks, C] of Moments, and the number of chunks.
std::pair<Tensor, int64_t> sum_up(const Queue& queue, const Arguments& arguments, const Dense& dense,
                                  const Terms& terms, const View& view) {
  std::pair<Tensor, int64_t> partial;
  with_variant(arguments.type(), view, dense.addresses, [&](auto variant) {
    using Variant = decltype(variant);
    const int64_t layers = std::count(terms.summed, terms.summed + kMaxInputs, true);
    const Walk walk = reduction(view, Variant::V, Variant::kAcross, kStatisticsDepth, layers);
    const int64_t size = arguments.count() * walk.chunks * view.channels * sizeof(Moments) / sizeof(double);
    partial = {empty({size}, ScalarType::Double, arguments.first()), walk.chunks};
    if (view.channels == 0) return;
    queue.launch(statistics<Variant>, walk.grid(arguments.count()), walk.block(), dense.inputs, terms, walk,
                 data<Moments>(partial.first));
  });
  return partial;
}

void weigh(const Queue& queue, const Arguments& arguments, const Dense& dense, const View& view, const Tensor& live,
           const Tensor& affine, const Tensor& out) {
  const uintptr_t addresses = dense.addresses | reinterpret_cast<uintptr_t>(out.const_data_ptr());
  with_variant(arguments.type(), view, addresses, [&](auto variant) {
    using Variant = decltype(variant);
    const Walk walk = elementwise(view, Variant::V, Variant::kAcross, kApplyDepth);
    queue.launch(apply<Variant>, walk.grid(), walk.block(), dense.inputs, walk, data<const int>(live),
                 data<const Affine<typename Variant::A>>(affine), data<typename Variant::T>(out));
  });
}

// A: float, or double for float64. Fills out and, where they are computed, mean and rstd.
template <typename A>
void run(const Arguments& arguments, double eps, MemoryFormat format, const Tensor& out, const Tensor& mean,
         const Tensor& rstd) {
  const Queue queue(arguments.first());
  const View view = arguments.view(format);
  Terms terms = sort_terms(arguments.source, arguments.norm, data<const bool>(arguments.keep));
  Dense dense;
  for (size_t u = 0; u < arguments.inputs.size(); ++u) {
    if (terms.first[u] == terms.first[u + 1]) continue;
    terms.summed[u] = arguments.computed() && terms.norm[u] == kBatch;
    dense.add(u, arguments.inputs[u], format);
  }

  Statistics<A> statistics = {nullptr, 0, eps, data<A>(arguments.mean), data<A>(arguments.rstd)};
  std::pair<Tensor, int64_t> partial;
  if (arguments.computed()) {
    partial = sum_up(queue, arguments, dense, terms, view);
    statistics = {data<const Moments>(partial.first), partial.second, eps, data<A>(mean), data<A>(rstd)};
  }
  const auto count = arguments.count();
  const Tensor weights = arguments.wide_weights(), live = empty({1 + count}, ScalarType::Int, out);
  const Tensor affine = empty({count * view.channels * 2}, arguments.wide(), out);
  queue.launch(coefficients<A>, dim3(static_cast<unsigned>(count)), channel_block(view.channels, statistics.chunks),
               terms, statistics, data<const A>(weights), arguments.logits, view.channels, data<int>(live),
               data<Affine<A>>(affine));
  if (out.numel() > 0) weigh(queue, arguments, dense, view, live, affine, out);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> mixed_sum(std::vector<Tensor> inputs, Tensor weights, std::vector<int64_t> source,
                                             std::vector<int64_t> norm, std::optional<Tensor> mean,
                                             std::optional<Tensor> rstd, std::optional<Tensor> keep, bool logits,
                                             double eps) {
  const Arguments arguments(inputs, weights, source, norm, mean, rstd, keep, logits);
  const Tensor& first = arguments.first();
  const MemoryFormat format = layout_of(first);
  const Tensor out = empty_like(first, format);
  std::vector<int64_t> shape = {0};
  if (arguments.computed()) shape = {arguments.count(), first.size(1)};
  const Tensor computed_mean = empty(shape, arguments.wide(), first);
  const Tensor computed_rstd = empty(shape, arguments.wide(), first);
  const auto compute = arguments.wide() == ScalarType::Double ? run<double> : run<float>;
  compute(arguments, eps, format, out, computed_mean, computed_rstd);
  return {out, computed_mean, computed_rstd};
}

}  // namespace ddarts
