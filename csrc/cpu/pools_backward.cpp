// Gradient of a state for the gradients of both its pools; see pools.cpp. E edges read the pools.
//
// The gradient is gathered into the rows of a chunk, by the one thread that the chunk belongs to, so the bits do not
// depend on the number of threads.

#include <algorithm>

#include "pools.h"
#include "pools_common.h"
#include "pools_rows.h"

namespace ddarts {
namespace {

constexpr int64_t kRows = 16;  // rows of the state in a chunk; the rows of the pools at its edges are computed twice

template <typename Real>
struct Backward {
  Geometry g;
  std::vector<const Real*> grads;
  const Real *most, *average, *lines;
  const uint8_t* index;
  Real* out;

  void run() const {
    const int64_t per_image = (g.height + kRows - 1) / kRows;
    torch::stable::parallel_for(0, g.images * per_image, 1, [&](int64_t begin, int64_t end) {
      std::vector<Real> most_row(g.columns() * g.channels), average_row(most_row.size()), size(g.columns());
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t image = chunk / per_image, first = chunk % per_image * kRows;
        const int64_t last = std::min(g.height, first + kRows);
        Real* rows = out + image * g.height * g.width * g.channels;
        std::fill(rows + first * g.width * g.channels, rows + last * g.width * g.channels, Real(0));
        // Windows place*stride - 1 ... place*stride + 1 that meet the rows first ... last - 1.
        const int64_t from = std::max<int64_t>(0, (first - 1 + g.stride - 1) / g.stride);
        const int64_t to = std::min(g.rows(), last / g.stride + 1);
        for (int64_t place = from; place < to; ++place) {
          slopes(image, place, most_row.data(), average_row.data(), size.data());
          spread(image, place, first, last, most_row.data(), average_row.data());
        }
      }
    });
  }

  // Gradients of one row of both pools; that of the average for a single pixel of the window.
  void slopes(int64_t image, int64_t place, Real* most_row, Real* average_row, Real* size) const {
    const int64_t at = (image * g.rows() + place) * g.columns() * g.channels;
    const int64_t rows = Span(place, g.stride, g.height).length();
    for (int64_t column = 0; column < g.columns(); ++column) {
      size[column] = static_cast<Real>(rows * Span(column, g.stride, g.width).length());
    }
    std::vector<const Real*> here(grads);
    for (const Real*& grad : here) grad += at;
    pool_rows<Real>().slopes(most_row, average_row, here.data(), static_cast<int64_t>(here.size()), most + at,
                             average + at, lines, size, g.columns(), g.channels);
  }

  // Adds them to the rows first ... last - 1 of the state that the windows of this row meet.
  void spread(int64_t image, int64_t place, int64_t first, int64_t last, const Real* most_row,
              const Real* average_row) const {
    const auto& kernels = pool_rows<Real>();
    const Span rows(place, g.stride, g.height);
    const uint8_t* chosen = index + (image * g.rows() + place) * g.columns() * g.channels;
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      const int64_t y = place * g.stride - 1 + i;
      if (y < first || y >= last) continue;
      Real* row = out + (image * g.height + y) * g.width * g.channels;
      for (int64_t j = 0; j < 3; ++j) {
        const uint8_t number = static_cast<uint8_t>(3 * i + j);
        const int64_t begin = j == 0 ? 1 : 0, end = std::min(g.columns(), (g.width + 1 - j + g.stride - 1) / g.stride);
        const int64_t run = g.stride == 1 ? end - begin : 1;  // at stride 1 all columns at once
        for (int64_t column = begin; column < end; column += run) {
          const int64_t from = column * g.channels, to = (column * g.stride - 1 + j) * g.channels;
          kernels.spread(row + to, most_row + from, average_row + from, chosen + from, number, run * g.channels);
        }
      }
    }
  }
};

template <typename Real>
void backward(const Geometry& g, const std::vector<Tensor>& grads, const Tensor& most, const Tensor& average,
              const Tensor& index, const Tensor& lines, Tensor& out) {
  std::vector<const Real*> each;
  for (const Tensor& grad : grads) each.push_back(values<Real>(grad));
  Backward<Real>{g,
                 each,
                 values<Real>(most),
                 values<Real>(average),
                 values<Real>(lines),
                 values<uint8_t>(index),
                 values_of<Real>(out)}
      .run();
}

}  // namespace

Tensor pools_backward(std::vector<Tensor> grads, Tensor most, Tensor average, Tensor index, Tensor coefficients,
                      int64_t height, int64_t width, int64_t stride) {
  const char* op = "pools_backward";
  check(most.is_cpu(), op, ": most is not on the CPU");
  check(most.dim() == 4, op, ": most must be [N, h, w, C]");
  check(stride >= 1 && height >= 0 && width >= 0, op, ": stride, height and width must not be negative or zero");
  const ScalarType type = most.scalar_type(), wide = accumulation_type(type, op);
  const Geometry g{most.size(0), height, width, most.size(3), stride};
  const std::initializer_list<int64_t> shape = {g.images, g.rows(), g.columns(), g.channels};
  check_tensor(most, shape, type, op, "most");
  check_tensor(average, shape, type, op, "average");
  check_tensor(index, shape, ScalarType::Byte, op, "index");
  for (Tensor& grad : grads) {
    check_tensor(grad, shape, type, op, "grads");
    grad = widened(grad, wide);
  }
  check_tensor(coefficients, {2, static_cast<int64_t>(grads.size()) + 2, g.channels}, wide, op, "coefficients");
  Tensor out = empty({g.images, height, width, g.channels}, wide, most);
  const Tensor dense[] = {widened(most, wide), widened(average, wide), torch::stable::contiguous(index),
                          torch::stable::contiguous(coefficients)};
  if (wide == ScalarType::Double) {
    backward<double>(g, grads, dense[0], dense[1], dense[2], dense[3], out);
  } else {
    backward<float>(g, grads, dense[0], dense[1], dense[2], dense[3], out);
  }
  return narrowed(out, type);
}

}  // namespace ddarts
