// Gradients of the node of a cell. With z[u] = (x[u] - centre) rstd, all that they need are two sums for each channel,
//   S0[c] = sum grad,   S1[u, c] = sum grad z[u]
// and then   dw[m] = sum_c S1[source[m], c],   dx[u] = a (grad - (S0 + z[u] S1[u]) / count)   (BATCH; else a grad).
//
//   dots       (dots.cuh) S0 and S1 / rstd, in chunks, several inputs for one reading of grad    reads grad, x
//   finish     merges the chunks; gradients of the weights, and the factors of dx
//   gradients  dx of the inputs wanted                                              reads grad, BATCH x; writes dx
//
// Legend: U inputs, C channels, R steps of a thread at a time; T, A, V, column, step: walk.cuh.

#include "../common/operators.h"
#include "arguments.h"
#include "dots.cuh"

namespace ddarts {
namespace {

constexpr int kDepth = 2;

// dx = scale (grad - shift - tilt (x - centre)), shift and tilt zero but for BATCH
template <typename A>
struct alignas(16) Slope {
  A scale, shift, tilt, centre;
};

template <typename A>
struct Sums {
  const double* partial;  // [U + 1, chunks, C], or null: no input is summed
  int64_t chunks, channels;
  double count;  // elements of a channel
  const A *mean, *rstd;

  // The share of a thread in the sum over the chunks.
  __device__ double part(int64_t row, int64_t c) const {
    double sum = 0;
    for (int64_t chunk = threadIdx.y; chunk < chunks; chunk += blockDim.y) {
      sum += partial[(row * chunks + chunk) * channels + c];
    }
    return sum;
  }
};

// live: [U], whether an input is alive. slopes: [U, C]. grad_weights: [n] or null. grid.x: U; threads: channels,
// chunks.
template <typename A>
__global__ void __launch_bounds__(kThreads, 2)
    finish(const __grid_constant__ Terms terms, const __grid_constant__ Sums<A> sums, const A* weights, bool logits,
           bool* live, Slope<A>* slopes, A* grad_weights) {
  __shared__ double shared[2 * kThreads];
  const int u = blockIdx.x, threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
  const bool alive = terms.alive(u), normalised = terms.norm[u] != kNone, batch = terms.norm[u] == kBatch;
  const bool summed = alive && terms.summed[u] && sums.partial != nullptr;
  const double weight = total_weight(terms, weights, logits, u);
  if (thread == 0) live[u] = alive;

  double dot = 0;
  for (int64_t begin = 0; begin < sums.channels; begin += blockDim.x) {
    const int64_t c = begin + threadIdx.x;
    const bool inside = c < sums.channels;
    shared[thread] = inside && summed ? sums.part(u, c) : 0;
    shared[threads + thread] = inside && summed && batch ? sums.part(gridDim.x, c) : 0;
    reduce_rows(shared, 2);
    if (threadIdx.y != 0 || !inside) continue;
    const A centre = normalised ? sums.mean[u * sums.channels + c] : A(0);
    const A rstd = normalised ? sums.rstd[u * sums.channels + c] : A(1);
    const double along = shared[thread] * rstd, plain = shared[threads + thread];
    dot += along;
    const double tilt = batch ? along * rstd / sums.count : 0;
    slopes[u * sums.channels + c] = {A(weight * rstd), A(plain / sums.count), A(tilt), centre};
  }
  if (grad_weights == nullptr) return;
  __syncthreads();
  shared[thread] = dot;
  __syncthreads();
  dot = 0;
  for (unsigned lane = 0; lane < blockDim.x; ++lane) dot += shared[lane];
  for (int i = terms.first[u] + thread; i < terms.first[u + 1]; i += threads) {
    const int m = terms.term[i];
    const double value = value_of(weights[m], logits), factor = logits ? value * (1 - value) : 1;
    grad_weights[m] = terms.kept(m) ? static_cast<A>(dot * factor) : A(0);
  }
}

// The inputs whose gradients are wanted.
struct Wanted {
  int count;
  uint8_t input[kMaxInputs];
};

// grid.y: how many of the wanted inputs are worked on side by side.
template <typename Variant>
__global__ void __launch_bounds__(kThreads, 2)
    gradients(const __grid_constant__ Inputs inputs, const __grid_constant__ Outputs outputs,
              const __grid_constant__ Wanted wanted, const __grid_constant__ Walk walk, const typename Variant::T* grad,
              const bool* live, const Slope<typename Variant::A>* slopes) {
  using T = typename Variant::T;
  using A = typename Variant::A;
  constexpr int V = Variant::V, R = kDepth, kChannels = Variant::kAcross ? V : 1;
  const Place place(walk);
  if (place.first >= place.last) return;

  int64_t at[R];
  Vector<T, V> slope[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {  // a step past the end reads the first one again and is not written
    const int64_t step = place.first + r * walk.rows;
    at[r] = position<V, Variant::kAcross>(walk, place.column, step < place.last ? step : place.first);
    slope[r] = load<T, V>(grad + at[r]);
  }
  for (int i = blockIdx.y; i < wanted.count; i += gridDim.y) {
    const int u = wanted.input[i];
    const T* x = static_cast<const T*>(inputs.data[u]);
    const bool alive = live[u], reads = alive && x != nullptr;
    Vector<T, V> value[R] = {};
    if (reads) {
#pragma unroll
      for (int r = 0; r < R; ++r) value[r] = load<T, V>(x + at[r]);
    }
    const auto factor = load<Slope<A>, kChannels>(slopes + u * walk.channels + place.column * kChannels);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      A result[V];
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const Slope<A>& f = factor.at[Variant::kAcross ? v : 0];
        const A bend = reads ? f.shift + f.tilt * (static_cast<A>(value[r].at[v]) - f.centre) : A(0);
        result[v] = alive ? f.scale * (static_cast<A>(slope[r].at[v]) - bend) : A(0);
      }
      if (place.first + r * walk.rows < place.last) store(static_cast<T*>(outputs.data[i]) + at[r], result);
    }
  }
}

// What one call of the backward works on.
struct Backward {
  const Arguments& arguments;
  Queue queue;
  MemoryFormat format;
  View view;
  Tensor grad;
  Terms terms;
  Wanted wanted = {};
  Dense summed, bent;  // inputs read for the sums, and for their own gradients

  Backward(const Arguments& given, const Tensor& slope, const std::vector<int64_t>& wants, bool need_weights)
      : arguments(given),
        queue(given.first()),
        format(layout_of(given.first())),
        view(given.view(format)),
        grad(torch::stable::contiguous(slope, format)),
        terms(sort_terms(given.source, given.norm, data<const bool>(given.keep))) {
    bool bends[kMaxInputs] = {};
    for (int64_t u : wants) {
      wanted.input[wanted.count++] = static_cast<uint8_t>(u);
      bends[u] = given.norm[u] == kBatch;
    }
    for (size_t u = 0; u < given.inputs.size(); ++u) {
      terms.summed[u] = terms.first[u] != terms.first[u + 1] && (need_weights || bends[u]);
      if (terms.summed[u]) summed.add(u, given.inputs[u], format);
      if (terms.summed[u] && bends[u]) bent.copy(u, summed);
    }
  }

  uintptr_t address() const { return reinterpret_cast<uintptr_t>(grad.const_data_ptr()); }

  // [U + 1, chunks, C] of doubles, and the number of chunks; nothing where no input is summed.
  std::pair<Tensor, int64_t> sum_up() const {
    std::pair<Tensor, int64_t> partial = {Tensor(), 0};
    if (summed.alive.empty() || grad.numel() == 0) return partial;
    with_variant(arguments.type(), view, summed.addresses | address(), [&](auto variant) {
      using Variant = decltype(variant);
      const int64_t groups = (arguments.count() + kGroup - 1) / kGroup;
      const Walk walk = reduction(view, Variant::V, Variant::kAcross, kDotsDepth, groups);
      const int64_t size = (arguments.count() + 1) * walk.chunks * view.channels;
      partial = {empty({size}, ScalarType::Double, grad), walk.chunks};
      queue.launch(dots<Variant>, walk.grid(groups), walk.block(), summed.inputs, terms, walk,
                   data<const typename Variant::T>(grad), data<const typename Variant::A>(arguments.mean),
                   static_cast<int>(arguments.count()), data<double>(partial.first));
    });
    return partial;
  }

  // Fills live, slopes and, where it is not null, grad_weights.
  template <typename A>
  void merge(const Tensor& live, const Tensor& slopes, const std::optional<Tensor>& grad_weights) const {
    const auto [partial, chunks] = sum_up();
    const double count = static_cast<double>(std::max<int64_t>(1, view.outer * view.inner));
    const Sums<A> sums = {chunks > 0 ? data<const double>(partial) : nullptr,
                          chunks,
                          view.channels,
                          count,
                          data<const A>(arguments.mean),
                          data<const A>(arguments.rstd)};
    const Tensor weights = arguments.wide_weights();
    queue.launch(finish<A>, dim3(static_cast<unsigned>(arguments.count())), channel_block(view.channels, chunks), terms,
                 sums, data<const A>(weights), arguments.logits, data<bool>(live), data<Slope<A>>(slopes),
                 data<A>(grad_weights));
  }

  std::vector<Tensor> differentiate(const Tensor& live, const Tensor& slopes) const {
    std::vector<Tensor> results;
    Outputs outputs = {};
    uintptr_t addresses = bent.addresses | address();
    for (int i = 0; i < wanted.count; ++i) {
      results.push_back(empty_like(arguments.first(), format));
      outputs.data[i] = data<void>(results.back());
      addresses |= reinterpret_cast<uintptr_t>(outputs.data[i]);
    }
    if (grad.numel() == 0 || results.empty()) return results;
    with_variant(arguments.type(), view, addresses, [&](auto variant) {
      using Variant = decltype(variant);
      const Walk walk = elementwise(view, Variant::V, Variant::kAcross, kDepth);
      constexpr int64_t kBlocks = 1024;  // enough to fill a GPU
      const int64_t layers = std::clamp<int64_t>(kBlocks / (walk.tiles * walk.chunks), 1, wanted.count);
      queue.launch(gradients<Variant>, walk.grid(layers), walk.block(), bent.inputs, outputs, wanted, walk,
                   data<const typename Variant::T>(grad), data<const bool>(live),
                   data<const Slope<typename Variant::A>>(slopes));
    });
    return results;
  }
};

}  // namespace

std::tuple<std::vector<Tensor>, Tensor> mixed_sum_backward(Tensor grad, std::vector<Tensor> inputs, Tensor weights,
                                                           std::vector<int64_t> source, std::vector<int64_t> norm,
                                                           std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                                           std::optional<Tensor> keep, bool logits,
                                                           std::vector<int64_t> wanted, bool need_weights) {
  const Arguments arguments(inputs, weights, source, norm, mean, rstd, keep, logits);
  const Tensor& first = arguments.first();
  check_like(first, grad, "grad");
  check(!arguments.computed(), "mixed_sum: batch statistics need mean and rstd in the backward");
  check(wanted.size() <= inputs.size(), "mixed_sum: wanted has ", wanted.size(), " entries for ", inputs.size(),
        " inputs");
  for (int64_t u : wanted) {
    check(u >= 0 && u < arguments.count(), "mixed_sum: wanted has ", u, ", there are ", arguments.count(), " inputs");
  }
  const Backward backward(arguments, grad, wanted, need_weights);
  const Tensor live = empty({arguments.count()}, ScalarType::Bool, first);
  const Tensor slopes = empty({arguments.count() * backward.view.channels * 4}, arguments.wide(), first);
  std::optional<Tensor> grad_weights;
  if (need_weights) grad_weights = empty({weights.size(0)}, arguments.wide(), first);
  if (arguments.wide() == ScalarType::Double) {
    backward.merge<double>(live, slopes, grad_weights);
  } else {
    backward.merge<float>(live, slopes, grad_weights);
  }
  const Tensor result =
      need_weights ? torch::stable::to(*grad_weights, weights.scalar_type()) : empty({0}, weights.scalar_type(), first);
  return {backward.differentiate(live, slopes), result};
}

}  // namespace ddarts
