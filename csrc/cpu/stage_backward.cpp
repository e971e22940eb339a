// The gradients of the stage. Legend in stage_plan.h.
//
// A thread takes a chunk of images, and for every edge and kind: dy = c0 grad + c1 y + c2 a few rows at a time, the
// gradient g of the depthwise output into rows with borders, the depthwise output once more (it was not saved) for the
// gradient of the pointwise weights; then the gradients of u, added up over all that read the input, and of the taps.

#include <torch/csrc/stable/ops.h>

#include "stage.h"
#include "stage_arguments.h"
#include "stage_chunks.h"

namespace ddarts {
namespace {

// Where a chunk's gradients of each kind and edge lie in one array.
struct WeightLayout {
  std::vector<int64_t> taps, pointwise;  // [S * E]
  int64_t size = 0;

  WeightLayout(const StageShape& g, const std::vector<StageKind>& kinds) {
    for (int64_t k = 0; k < g.kinds * g.edges; ++k) {
      taps.push_back(size);
      size += kinds[k / g.edges].taps() * g.padded();
      pointwise.push_back(size);
      size += g.padded() * g.padded();
    }
  }
};

// out[rows][C] of blocked[B][blocked_rows][L].
template <typename Real>
void unblock(const StageShape& g, const double* blocked, int64_t blocked_rows, int64_t rows, Real* out) {
  for (int64_t b = 0; b < g.blocks; ++b) {
    const int64_t lanes = std::min(g.lanes, g.channels - b * g.lanes);
    for (int64_t r = 0; r < rows; ++r) {
      const double* from = blocked + (b * blocked_rows + r) * g.lanes;
      Real* to = out + r * g.channels + b * g.lanes;
      for (int64_t lane = 0; lane < lanes; ++lane) to[lane] = static_cast<Real>(from[lane]);
    }
  }
}

struct Gradients {
  Tensor dz, sums;
  Tensors depthwise, pointwise;
};

template <typename Real>
Tensor reduced_sums(const StageShape& g, const Chunks& chunks, const std::vector<double>& parts) {
  Tensor result = torch::stable::empty({g.inputs, 2, g.channels}, accumulation_type_of<Real>);
  Real* out = static_cast<Real*>(result.mutable_data_ptr());
  for (int64_t row = 0; row < g.inputs * 2; ++row) {
    for (int64_t c = 0; c < g.channels; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < chunks.per_input(); ++i) {
        sum += parts[static_cast<size_t>(((row / 2 * chunks.per_input() + i) * 2 + row % 2) * g.padded() + c)];
      }
      out[row * g.channels + c] = static_cast<Real>(sum);
    }
  }
  return result;
}

// The chunks' gradients of the weights, added in order and in double.
template <typename Real>
void reduce_weights(const StageShape& g, const Chunks& chunks, const WeightLayout& at, Real* parts, Gradients& result) {
  torch::stable::parallel_for(0, g.kinds * g.edges, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t s = k / g.edges, e = k % g.edges, taps = result.depthwise[s].size(1) * result.depthwise[s].size(2);
      const int64_t size = (taps + g.padded()) * g.padded();  // the taps, and behind them the pointwise weights
      std::vector<double> sum(static_cast<size_t>(size), 0.0);
      for (int64_t i = 0; i < chunks.per_input(); ++i) {
        const Real* part = parts + i * at.size + at.taps[k];
        for (int64_t j = 0; j < size; ++j) sum[j] += static_cast<double>(part[j]);
      }
      Real* d = static_cast<Real*>(result.depthwise[s].mutable_data_ptr()) + e * taps * g.channels;
      Real* p = static_cast<Real*>(result.pointwise[s].mutable_data_ptr()) + e * g.channels * g.channels;
      unblock(g, sum.data(), taps, taps, d);
      unblock(g, sum.data() + taps * g.padded(), g.padded(), g.channels, p);
    }
  });
}

std::vector<const char*> pointers(const Tensors& tensors) {
  std::vector<const char*> result;
  for (const Tensor& t : tensors) result.push_back(static_cast<const char*>(t.const_data_ptr()));
  return result;
}

// Runs all chunks: fills result.dz, parts of the weights' gradients and of the sums.
template <typename Real>
void run_chunks(const StageTable<Real>& table, const StageBackward<Real>& job, const Chunks& chunks,
                const WeightLayout& at, Real* weights, std::vector<double>& sums) {
  const StageShape& g = job.in.shape;
  chunks.run<Real>(table.backward_scratch(g), [&](int64_t i, Real* scratch) {
    std::vector<Real*> taps, pointwise;
    for (size_t k = 0; job.need_weights && k < at.taps.size(); ++k) {
      Real* part = weights + i % chunks.per_input() * at.size;
      taps.push_back(part + at.taps[k]);
      pointwise.push_back(part + at.pointwise[k]);
    }
    double* sum = &sums[static_cast<size_t>(i * 2 * g.padded())];
    const StageChunk<Real> chunk = {chunks.input(i), 0, chunks.begin(i), chunks.end(i), {}, sum, taps.data(),
                                    pointwise.data()};
    table.backward(job, chunk, scratch);
  });
}

template <typename Real>
Gradients backward(const StageArguments& a, const Tensors& grads, const Tensors& y, const Tensor& coefficients,
                   bool need_weights) {
  const ScalarType type = accumulation_type_of<Real>;
  const StageTable<Real>& table = stage_table<Real>(a.x.size(4));
  const StageShape g = shape_of(a, table.lanes, sizeof(Real));
  const StageOperands<Real> operands(a, g, true);
  const ScalarType slope = grads[0].scalar_type(), stored = y[0].scalar_type();
  const Tensors dense_grads = dense(grads, slope), dense_y = dense(y, stored);
  const auto grad_data = pointers(dense_grads), y_data = pointers(dense_y);
  const auto c = padded_rows<Real>(coefficients, g.kinds * g.edges * 3, g, 0);
  Gradients result = {torch::stable::empty(a.x.sizes(), slope), torch::stable::empty({0}, type), {}, {}};
  const StageBackward<Real> job = {operands.input(),
                                   stored_as<Real>(slope),
                                   stored_as<Real>(stored),
                                   grad_data.data(),
                                   y_data.data(),
                                   c.data(),
                                   static_cast<char*>(result.dz.mutable_data_ptr()),
                                   need_weights};
  const Chunks chunks(g);
  const WeightLayout at(g, kinds_of(a));
  Aligned<Real> weights(need_weights ? chunks.per_input() * at.size : 0);
  std::vector<double> sums(static_cast<size_t>(chunks.count() * 2 * g.padded()), 0.0);
  run_chunks(table, job, chunks, at, weights.data(), sums);
  if (a.mean) result.sums = reduced_sums<Real>(g, chunks, sums);
  if (!need_weights) return result;
  for (const Tensor& d : a.depthwise) result.depthwise.push_back(torch::stable::empty(d.sizes(), type));
  for (const Tensor& p : a.pointwise) result.pointwise.push_back(torch::stable::empty(p.sizes(), type));
  reduce_weights(g, chunks, at, weights.data(), result);
  return result;
}

// Each in the type of its reference.
Tensors like(const Tensors& tensors, const Tensors& references) {
  Tensors result;
  for (size_t i = 0; i < tensors.size(); ++i) result.push_back(dense(tensors[i], references[i].scalar_type()));
  return result;
}

}  // namespace

std::tuple<Tensor, Tensors, Tensors, Tensor> stage_backward(Tensors grads, Tensors y, Tensor coefficients, Tensor x,
                                                            Tensors depthwise, Tensors pointwise,
                                                            std::vector<int64_t> dilation, int64_t stride,
                                                            std::optional<Tensor> mean, std::optional<Tensor> rstd,
                                                            bool need_weights) {
  const StageArguments a = {"stage_backward", x, depthwise, pointwise, dilation, stride, mean, rstd, std::nullopt};
  check_arguments(a);
  check_gradients(a, grads, y, coefficients);
  const bool wide = x.scalar_type() == ScalarType::Double;
  const Gradients found = wide ? backward<double>(a, grads, y, coefficients, need_weights)
                               : backward<float>(a, grads, y, coefficients, need_weights);
  return {found.dz, like(found.depthwise, depthwise), like(found.pointwise, pointwise), found.sums};
}

}  // namespace ddarts
