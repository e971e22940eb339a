// 3x3 maximum and average pools of a state, padding 1 (the average leaves the padding out), with the statistics of both
// for each group of consecutive images.
//
// N images, H, W pixels (h, w after the stride), C channels, stored [N, H, W, C]. The work is cut into chunks of rows
// of an image. A chunk belongs to one thread and sums of chunks are added in order, so the bits do not depend on the
// number of threads. 16-bit tensors are widened to float32 and the results rounded once.

#include "pools.h"

#include <algorithm>
#include <cmath>

#include "pools_common.h"
#include "pools_rows.h"

namespace ddarts {
namespace {

constexpr int64_t kRows = 8;  // rows of the pools in a chunk

// Mean and sum of squared distances of the values of one pool, channel by channel.
struct Moments {
  int64_t count = 0;
  std::vector<double> mean, spread;
  explicit Moments(int64_t channels) : mean(channels, 0.0), spread(channels, 0.0) {}

  // Adds `more` values, given the sums of their distances from shift and of the squares.
  template <typename Real>
  void add(int64_t more, const Real* shift, const double* sum, const double* square) {
    const double part = static_cast<double>(more) / static_cast<double>(count + more);
    for (size_t c = 0; c < mean.size(); ++c) {
      const double offset = sum[c] / static_cast<double>(more);
      const double gap = static_cast<double>(shift[c]) + offset - mean[c];
      spread[c] += square[c] - sum[c] * offset + gap * gap * part * static_cast<double>(count);
      mean[c] += gap * part;
    }
    count += more;
  }
};

template <typename Real>
struct Forward {
  Geometry g;
  const Real* x;
  Real* pooled[2];  // maximum, average
  uint8_t* index;

  int64_t chunks_of_image() const { return (g.rows() + kRows - 1) / kRows; }

  // One row of the pools; `image` counts from 0.
  void row(int64_t image, int64_t place) const {
    const auto& kernels = pool_rows<Real>();
    const Span rows(place, g.stride, g.height);
    const int64_t columns = g.columns();
    for (int64_t at = 0, run = 1; at < columns; at += run) {
      // At stride 1 the windows between the borders lie side by side: one run.
      run = g.stride == 1 && at > 0 && at + 1 < columns ? columns - 1 - at : 1;
      const Span across(at, g.stride, g.width);
      Window<Real> window;
      window.count = 0;
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        for (int64_t j = across.begin; j < across.end; ++j) {
          const int64_t y = place * g.stride - 1 + i, z = at * g.stride - 1 + j;
          window.at[window.count] = x + ((image * g.height + y) * g.width + z) * g.channels;
          window.number[window.count++] = static_cast<uint8_t>(3 * i + j);
        }
      }
      const int64_t out = ((image * g.rows() + place) * columns + at) * g.channels;
      kernels.pool(pooled[0] + out, pooled[1] + out, index + out, window, run * g.channels);
    }
  }

  // All pools; sums[chunk][pool][sum, square][C] of distances from the chunk's first pixel.
  std::vector<double> run() const {
    const auto& kernels = pool_rows<Real>();
    const int64_t per_image = chunks_of_image(), line = g.columns() * g.channels;
    std::vector<double> sums(static_cast<size_t>(g.images * per_image * 4 * g.channels), 0.0);
    torch::stable::parallel_for(0, g.images * per_image, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t image = chunk / per_image, first = chunk % per_image * kRows;
        const int64_t last = std::min(g.rows(), first + kRows), start = (image * g.rows() + first) * line;
        for (int64_t place = first; place < last; ++place) {
          row(image, place);
          for (int64_t p = 0; p < 2; ++p) {
            double* sum = sums.data() + (chunk * 2 + p) * 2 * g.channels;
            kernels.moments(sum, sum + g.channels, pooled[p] + start + (place - first) * line, pooled[p] + start,
                            g.columns(), g.channels);
          }
        }
      }
    });
    return sums;
  }

  // mean and rstd [groups, 2, C]
  void statistics(const std::vector<double>& sums, int64_t groups, double eps, Real* mean, Real* rstd) const {
    const int64_t per_image = chunks_of_image(), line = g.columns() * g.channels;
    const int64_t per_group = g.images / groups * per_image;
    for (int64_t row = 0; row < groups * 2; ++row) {
      const int64_t begin = row / 2 * per_group, p = row % 2;
      Moments found(g.channels);
      for (int64_t chunk = begin; chunk < begin + per_group; ++chunk) {
        const int64_t first = chunk % per_image * kRows;
        const int64_t count = (std::min(g.rows(), first + kRows) - first) * g.columns();
        if (count == 0) continue;
        const double* sum = sums.data() + (chunk * 2 + p) * 2 * g.channels;
        const Real* shift = pooled[p] + (chunk / per_image * g.rows() + first) * line;
        found.add(count, shift, sum, sum + g.channels);
      }
      const double count = static_cast<double>(std::max<int64_t>(1, found.count));
      for (int64_t c = 0; c < g.channels; ++c) {
        mean[row * g.channels + c] = static_cast<Real>(found.mean[c]);
        rstd[row * g.channels + c] = static_cast<Real>(1.0 / std::sqrt(found.spread[c] / count + eps));
      }
    }
  }
};

template <typename Real>
void forward(const Geometry& g, const Tensor& x, double eps, int64_t groups, Tensor& most, Tensor& average,
             Tensor& index, Tensor& mean, Tensor& rstd) {
  const Forward<Real> pass{
      g, values<Real>(x), {values_of<Real>(most), values_of<Real>(average)}, values_of<uint8_t>(index)};
  pass.statistics(pass.run(), groups, eps, values_of<Real>(mean), values_of<Real>(rstd));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> pools(Tensor x, int64_t stride, double eps, int64_t groups) {
  check(x.is_cpu(), "pools: x is not on the CPU");
  check(x.dim() == 4, "pools: x must be [N, H, W, C]");
  check(stride >= 1, "pools: stride is ", stride, "; it must be at least 1");
  check(groups >= 1 && x.size(0) % groups == 0, "pools: groups is ", groups, " for ", x.size(0), " images");
  const ScalarType type = x.scalar_type(), wide = accumulation_type(type, "pools");
  const Geometry g{x.size(0), x.size(1), x.size(2), x.size(3), stride};
  const Tensor dense = widened(x, wide);
  Tensor most = empty({g.images, g.rows(), g.columns(), g.channels}, wide, x);
  Tensor average = empty({g.images, g.rows(), g.columns(), g.channels}, wide, x);
  Tensor index = empty({g.images, g.rows(), g.columns(), g.channels}, ScalarType::Byte, x);
  Tensor mean = empty({groups, 2, g.channels}, wide, x), rstd = empty({groups, 2, g.channels}, wide, x);
  if (wide == ScalarType::Double) {
    forward<double>(g, dense, eps, groups, most, average, index, mean, rstd);
  } else {
    forward<float>(g, dense, eps, groups, most, average, index, mean, rstd);
  }
  return {narrowed(most, type), narrowed(average, type), index, mean, rstd};
}

}  // namespace ddarts
