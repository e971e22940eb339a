// Mean and variance of one channel from the moments of its chunks.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace ddarts {

// Mean and sum of squares about it, from the chunks in order: parts[chunk * step] is the shift, `next` and 2 `next`
// further are the sums of y - shift and of its square, over counts[chunk] pixels.
struct ChannelMoments {
  double mean = 0, square = 0;

  ChannelMoments(const double* parts, int64_t step, int64_t next, const std::vector<double>& counts, double count) {
    for (size_t i = 0; i < counts.size(); ++i) {
      const auto at = static_cast<int64_t>(i) * step;
      mean += parts[at] * counts[i] + parts[at + next];
    }
    mean /= count;
    for (size_t i = 0; i < counts.size(); ++i) {
      const auto at = static_cast<int64_t>(i) * step;
      const double sum = parts[at + next], off = parts[at] - mean;
      square += parts[at + 2 * next] + off * (2 * sum + off * counts[i]);
    }
  }

  double rstd(double count, double eps) const { return 1.0 / std::sqrt((square < 0 ? 0.0 : square / count) + eps); }
};

}  // namespace ddarts
