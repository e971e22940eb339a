// Mean and 1 / sqrt(variance + eps) of every channel of dense inputs, in one pass over each.
//
// Sums of x - shift and (x - shift)^2, with a shift near the mean: the digits stay also where |mean| is far above the
// standard deviation.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "problem.h"
#include "storage.h"

namespace ddarts {

constexpr int64_t kSamples = 5;

// A number near the middle of one channel, whose elements start at x: the median of those at `samples`, 0 where none is
// finite. A number of the channel differs from the others by what storage types hold exactly; a mean would not.
template <typename T>
double shift_of(const T* x, const std::vector<int64_t>& samples) {
  using Acc = typename Storage<T>::Acc;
  std::array<Acc, kSamples> values;
  size_t finite = 0;
  for (int64_t at : samples) {
    Acc scratch;
    values[finite] = *Storage<T>::load(blocks(), x + at, &scratch, 1);
    finite += std::isfinite(values[finite]);
  }
  if (finite == 0) return 0.0;
  std::nth_element(values.begin(), values.begin() + finite / 2, values.begin() + finite);
  return static_cast<double>(values[finite / 2]);
}

// [inputs, C], from evenly spread elements.
template <typename T>
std::vector<double> shifts_of(const Grid& grid, const std::vector<const T*>& inputs) {
  std::vector<int64_t> samples;
  for (int64_t s = 0; s < std::min(kSamples, grid.count()); ++s) {
    samples.push_back(grid.offset(s * grid.count() / kSamples));
  }
  std::vector<double> result(inputs.size() * static_cast<size_t>(grid.channels));
  torch::stable::parallel_for(0, static_cast<int64_t>(inputs.size()), 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* x = inputs[static_cast<size_t>(i)];
      double* row = result.data() + i * grid.channels;
      for (int64_t c = 0; c < grid.channels; ++c) row[c] = shift_of(x + c * grid.inner, samples);
    }
  });
  return result;
}

// [2 inputs, C]: for each input the sums of x - shift and of its square.
template <typename T>
std::vector<double> moments(const Grid& grid, const std::vector<const T*>& inputs, const std::vector<double>& shift) {
  using S = Storage<T>;
  using Acc = typename S::Acc;
  const Blocks& k = blocks();
  const auto channels = static_cast<size_t>(grid.channels);
  const Coefficients<Acc> shifts(grid, inputs.size(), [&](size_t i, size_t c) { return shift[i * channels + c]; });
  ChunkSums sums(grid, 2 * inputs.size());
  for_each_chunk(grid, [&](int64_t chunk) {
    grid.for_each_block(chunk, [&](const Block& block) {
      alignas(64) Acc scratch[kBlock];
      for (size_t i = 0; i < inputs.size(); ++i) {
        const T* next = following(inputs, i, block);
        const Acc* x = S::load(k, inputs[i] + block.at, scratch, block.n);
        double* first = sums.at(chunk, 2 * i);
        double* second = sums.at(chunk, 2 * i + 1);
        grid.for_each_piece(block, [&](int64_t at, int64_t n, int64_t entry) {
          arithmetic<Acc>(k).moments(first + entry, second + entry, x + at, shifts[i] + entry, grid.period(), n,
                                     S::ahead(next + at, x));
        });
      }
    });
  });
  return sums.total();
}

// Fills the rows of those of the inputs `which`, given densely as `inputs`, that are normalised over this batch.
template <typename T>
void compute_statistics(const Grid& grid, const std::vector<const T*>& inputs, const std::vector<size_t>& which,
                        const std::vector<int64_t>& norm, double eps, Statistics& statistics) {
  using Acc = typename Storage<T>::Acc;
  std::vector<const T*> x;
  std::vector<size_t> rows;
  for (size_t i = 0; i < which.size(); ++i) {
    if (!is(norm[which[i]], Norm::kBatch)) continue;
    x.push_back(inputs[i]);
    rows.push_back(which[i]);
  }
  const std::vector<double> shift = shifts_of(grid, x);
  const std::vector<double> sums = moments<T>(grid, x, shift);
  const auto channels = static_cast<size_t>(grid.channels);
  const auto count = static_cast<double>(std::max<int64_t>(1, grid.count()));
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t c = 0; c < channels; ++c) {
      const double moved = sums[2 * i * channels + c] / count;
      const double variance = sums[(2 * i + 1) * channels + c] / count - moved * moved;
      const size_t at = rows[i] * channels + c;
      statistics.mean[at] = static_cast<Acc>(shift[i * channels + c] + moved);
      statistics.rstd[at] = static_cast<Acc>(1.0 / std::sqrt((variance < 0.0 ? 0.0 : variance) + eps));
    }
  }
}

}  // namespace ddarts
