// Sparse thresholding of a stack of cells: one block for a cell, one thread for a node, candidates of a node in the
// order in which the genotype lists them.
//
// Legend: S cells, E edges, K operations, R rows of the table. Edges are ordered by target node, then by source; node j
// (2 ... steps + 1) has the edges from the states 0 ... j - 1. Ties: the first operation is an edge's best one; edges
// of equal best operation keep their order; of equal operations `threshold_edge` takes the later ones. NaN is below
// all.

#include <algorithm>
#include <cmath>
#include <limits>

#include "../common/operators.h"
#include "arguments.h"

namespace ddarts {
namespace {

constexpr int kMaxSteps = 128;

enum Method { kDarts = 0, kSparse = 1, kEdge = 2, kComplete = 3 };

struct Shape {
  int64_t edges, operations, rows;
  int steps, method;
};

struct Best {
  double value;
  int source, operation;
};

// The first of the largest in a row of K.
__device__ inline Best best_of(const double* row, int64_t operations, int source) {
  Best best = {row[0], source, 0};
  for (int k = 1; k < operations; ++k) {
    if (row[k] > best.value) best = {row[k], source, k};
  }
  return best;
}

// Calls visit(source, operation) for every candidate of a node whose edges are `values` [edges, K], in order.
template <typename Visit>
__device__ inline void candidates(const double* values, int edges, const Shape& shape, const Visit& visit) {
  const int64_t operations = shape.operations;
  if (shape.method == kComplete) {
    for (int source = 0; source < edges; ++source) {
      for (int k = 0; k < operations; ++k) visit(source, k);
    }
  } else if (shape.method == kEdge) {
    for (int source = 0; source < edges; ++source) {
      const double* row = values + source * operations;
      int last = 0, before = -1;  // of a stable ascending order
      for (int k = 1; k < operations; ++k) {
        if (row[k] >= row[last]) {
          before = last;
          last = k;
        } else if (before < 0 || row[k] >= row[before]) {
          before = k;
        }
      }
      if (before >= 0) visit(source, before);
      visit(source, last);
    }
  } else {
    Best first = best_of(values, operations, 0), second = first;
    for (int source = 1; source < edges; ++source) {
      const Best next = best_of(values + source * operations, operations, source);
      if (next.value > first.value) {
        second = first;
        first = next;
      } else if (source == 1 || next.value > second.value) {
        second = next;
      }
    }
    visit(first.source, first.operation);
    visit(second.source, second.operation);
  }
}

// values: room for [S, E, K] numbers. keep: [S, E, K]; table: [S, R, 3]; counts: [S]. grid.x: S.
template <typename T>
__global__ void __launch_bounds__(kMaxSteps)
    parse(const __grid_constant__ Shape shape, const T* alphas, double threshold, bool logits, double* values,
          bool* keep, int* table, int* counts) {
  __shared__ int stay[kMaxSteps];
  const int64_t cell = blockIdx.x, size = shape.edges * shape.operations;
  alphas += cell * size;
  values += cell * size;
  keep += cell * size;
  table += cell * shape.rows * 3;
  for (int64_t i = threadIdx.x; i < size; i += blockDim.x) {
    double value = static_cast<double>(alphas[i]);
    if (logits) value = 1 / (1 + std::exp(-value));
    values[i] = value == value ? value : -std::numeric_limits<double>::infinity();
    keep[i] = false;
  }
  for (int64_t i = threadIdx.x; i < shape.rows * 3; i += blockDim.x) table[i] = -1;
  __syncthreads();

  const int thread = static_cast<int>(threadIdx.x), node = thread + 2;
  const int64_t first = int64_t(node - 2) * (node + 1) / 2 * shape.operations;
  const auto stays = [&](int source, int k) {
    return shape.method == kDarts || values[first + source * shape.operations + k] >= threshold;
  };
  int rows = 0;
  if (thread < shape.steps) {
    candidates(values + first, node, shape, [&](int source, int k) {
      if (!stays(source, k)) return;
      keep[first + source * shape.operations + k] = true;
      ++rows;
    });
    stay[thread] = rows;
  }
  __syncthreads();
  if (thread >= shape.steps) return;
  int* row = table;
  for (int i = 0; i < thread; ++i) row += 3 * stay[i];
  candidates(values + first, node, shape, [&](int source, int k) {
    if (!stays(source, k)) return;
    row[0] = node;
    row[1] = source;
    row[2] = k;
    row += 3;
  });
  if (thread == shape.steps - 1) counts[cell] = static_cast<int>((row - table) / 3);
}

// How many operations the method can keep in a cell.
int64_t rows_of(int method, int64_t steps, int64_t edges, int64_t operations) {
  if (method == kDarts || method == kSparse) return 2 * steps;
  return edges * (method == kEdge ? std::min<int64_t>(2, operations) : operations);
}

template <typename T>
void run(const Shape& shape, const Tensor& alphas, double threshold, bool logits, const Tensor& keep,
         const Tensor& table, const Tensor& counts) {
  const Tensor values = empty({alphas.numel()}, ScalarType::Double, alphas);
  Queue(alphas).launch(parse<T>, dim3(static_cast<unsigned>(alphas.size(0))), dim3(kMaxSteps), shape,
                       data<const T>(alphas), threshold, logits, data<double>(values), data<bool>(keep),
                       data<int>(table), data<int>(counts));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> threshold(Tensor alphas, int64_t steps, int64_t method, double threshold,
                                             bool logits) {
  check_float(alphas, "threshold", "alphas");
  check(method >= kDarts && method <= kComplete, "threshold: method is ", method, "; allowed are 0 to 3");
  check(steps >= 1 && steps <= kMaxSteps, "threshold: steps is ", steps, "; the cuda backend takes 1 to ", kMaxSteps,
        " (use triton or reference)");
  const int64_t edges = steps * (steps + 3) / 2;
  check(alphas.dim() == 3 && alphas.size(1) == edges && alphas.size(2) >= 1, "threshold: alphas must be [cells, ",
        edges, ", operations]");
  const Tensor dense = torch::stable::contiguous(alphas);
  const int64_t cells = dense.size(0), operations = dense.size(2);
  const Shape shape = {edges, operations, rows_of(static_cast<int>(method), steps, edges, operations),
                       static_cast<int>(steps), static_cast<int>(method)};
  const Tensor keep = empty({cells, edges, operations}, ScalarType::Bool, dense);
  const Tensor table = empty({cells, shape.rows, 3}, ScalarType::Int, dense);
  const Tensor counts = empty({cells}, ScalarType::Int, dense);
  if (cells == 0) return {keep, table, counts};
  const auto work = dense.scalar_type() == ScalarType::Double     ? run<double>
                    : dense.scalar_type() == ScalarType::Float    ? run<float>
                    : dense.scalar_type() == ScalarType::BFloat16 ? run<c10::BFloat16>
                                                                  : run<c10::Half>;
  work(shape, dense, threshold, logits, keep, table, counts);
  return {keep, table, counts};
}

}  // namespace ddarts
