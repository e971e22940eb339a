// Sparse thresholding, one cell after another: a stack is a few thousand numbers.
//
// Legend: S cells, E edges, K operations, R rows of the table. Edges are ordered by target node, then by source; node j
// (2 ... steps + 1) has the edges from the states 0 ... j - 1. Values are compared in float64, a NaN is below every
// number. Ties: the first operation is an edge's best one; edges of equal best operation keep their order; of equal
// operations, threshold_edge takes the later ones.

#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "../common/check.h"
#include "../common/operators.h"
#include "storage.h"

namespace ddarts {
namespace {

using torch::headeronly::ScalarType;

enum class Method : int64_t { kDarts = 0, kSparse = 1, kEdge = 2, kComplete = 3 };

constexpr int64_t kEdgesPerNode = 2;
constexpr int64_t kOperationsPerEdge = 2;

struct Task {
  int64_t steps, operations;
  Method method;
  double threshold;

  int64_t edges() const { return steps * (steps + 3) / 2; }
  int64_t rows() const {  // how many operations the method can keep in a cell
    if (method == Method::kDarts || method == Method::kSparse) return kEdgesPerNode * steps;
    return edges() * (method == Method::kEdge ? std::min(kOperationsPerEdge, operations) : operations);
  }
};

// The results of one cell: keep [E, K], table [R, 3], how many rows are in use.
struct Cell {
  bool* keep;
  int32_t* table;
  int32_t count;
};

// Puts an operation into the results, if its value lets it stay.
void judge(const Task& task, const double* values, int64_t node, int64_t source, int64_t operation, Cell& cell) {
  const int64_t at = ((node - 2) * (node + 1) / 2 + source) * task.operations + operation;
  if (task.method != Method::kDarts && !(values[at] >= task.threshold)) return;
  cell.keep[at] = true;
  int32_t* row = cell.table + 3 * cell.count++;
  row[0] = static_cast<int32_t>(node);
  row[1] = static_cast<int32_t>(source);
  row[2] = static_cast<int32_t>(operation);
}

// The best operation of each of the best edges; edge `source` of the node has values[source * K ...].
void judge_best_edges(const Task& task, const double* values, int64_t node, Cell& cell) {
  const double* edges = values + (node - 2) * (node + 1) / 2 * task.operations;
  std::vector<const double*> best(static_cast<size_t>(node));
  for (int64_t source = 0; source < node; ++source) {
    const double* edge = edges + source * task.operations;
    best[static_cast<size_t>(source)] = std::max_element(edge, edge + task.operations);
  }
  std::stable_sort(best.begin(), best.end(), [](const double* a, const double* b) { return *a > *b; });
  for (size_t i = 0; i < kEdgesPerNode; ++i) {
    const int64_t at = best[i] - edges;
    judge(task, values, node, at / task.operations, at % task.operations, cell);
  }
}

// The last of the edge's operations in ascending order: all of them, for threshold_complete, in their own order.
void judge_edge(const Task& task, const double* values, int64_t node, int64_t source, Cell& cell) {
  const double* edge = values + ((node - 2) * (node + 1) / 2 + source) * task.operations;
  std::vector<int64_t> order(static_cast<size_t>(task.operations));
  std::iota(order.begin(), order.end(), 0);
  size_t first = 0;
  if (task.method == Method::kEdge) {
    std::stable_sort(order.begin(), order.end(), [edge](int64_t a, int64_t b) { return edge[a] < edge[b]; });
    first = static_cast<size_t>(std::max<int64_t>(0, task.operations - kOperationsPerEdge));
  }
  for (; first < order.size(); ++first) judge(task, values, node, source, order[first], cell);
}

int32_t parse_cell(const Task& task, const double* values, bool* keep, int32_t* table) {
  Cell cell{keep, table, 0};
  std::fill_n(keep, task.edges() * task.operations, false);
  std::fill_n(table, 3 * task.rows(), -1);
  for (int64_t node = 2; node < task.steps + 2; ++node) {
    if (task.method == Method::kDarts || task.method == Method::kSparse) {
      judge_best_edges(task, values, node, cell);
    } else {
      for (int64_t source = 0; source < node; ++source) judge_edge(task, values, node, source, cell);
    }
  }
  return cell.count;
}

// Mixing weights in float64, NaN lowest. torch's own sigma: a weight is the number that the caller sees. (The GPU
// kernels write out 1 / (1 + exp(-x)), which may differ in the last bit.)
std::vector<double> mixing_weights(const Tensor& alphas, bool logits) {
  Tensor wide = torch::stable::to(alphas, ScalarType::Double);
  if (logits) {
    std::array<StableIValue, 1> stack{torch::stable::detail::from(wide)};
    STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sigmoid", "", stack.data(), TORCH_ABI_VERSION));
    wide = torch::stable::detail::to<Tensor>(stack[0]);
  }
  std::vector<double> values = numbers(torch::stable::contiguous(wide));
  for (double& value : values) value = std::isnan(value) ? -std::numeric_limits<double>::infinity() : value;
  return values;
}

void check_alphas(const Tensor& alphas, int64_t steps, int64_t method) {
  check(alphas.is_cpu(), "threshold: alphas is not on the CPU");
  check_floating(alphas.scalar_type(), "threshold: alphas");
  check(method >= 0 && method <= static_cast<int64_t>(Method::kComplete), "threshold: method is ", method);
  check(steps >= 1 && steps < (1 << 16), "threshold: steps is ", steps);
  check(alphas.dim() == 3 && alphas.size(1) == steps * (steps + 3) / 2 && alphas.size(2) >= 1,
        "threshold: alphas must be [cells, ", steps * (steps + 3) / 2, ", operations]");
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> threshold(Tensor alphas, int64_t steps, int64_t method, double threshold,
                                             bool logits) {
  check_alphas(alphas, steps, method);
  const int64_t cells = alphas.size(0);
  const Task task{steps, alphas.size(2), static_cast<Method>(method), threshold};
  const auto make = [&](std::vector<int64_t> shape, ScalarType type) {
    return torch::stable::empty(shape, type, std::nullopt, alphas.device());
  };
  const Tensor keep = make({cells, task.edges(), task.operations}, ScalarType::Bool);
  const Tensor table = make({cells, task.rows(), 3}, ScalarType::Int);
  const Tensor counts = make({cells}, ScalarType::Int);
  const std::vector<double> values = mixing_weights(alphas, logits);
  const int64_t size = task.edges() * task.operations;
  for (int64_t s = 0; s < cells; ++s) {
    static_cast<int32_t*>(counts.mutable_data_ptr())[s] =
        parse_cell(task, values.data() + s * size, static_cast<bool*>(keep.mutable_data_ptr()) + s * size,
                   static_cast<int32_t*>(table.mutable_data_ptr()) + s * 3 * task.rows());
  }
  return {keep, table, counts};
}

}  // namespace ddarts
