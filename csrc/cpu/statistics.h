// Mean and 1 / sqrt(variance + eps) of every channel of dense inputs, in one pass over each.
//
// Sums of x - shift and (x - shift)^2, with a shift near the mean: the digits stay also where |mean| is far above the
// standard deviation.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "problem.h"
#include "storage.h"

namespace ddarts {

// A few numbers of every channel, evenly spread, averaged: [inputs, C]. 0 where they are not finite.
template <typename T>
std::vector<double> shifts(const Grid& grid, const std::vector<const T*>& inputs) {
  using S = Storage<T>;
  using Acc = typename S::Acc;
  const int64_t samples = std::min<int64_t>(8, grid.count());
  const auto channels = static_cast<size_t>(grid.channels);
  std::vector<double> result(inputs.size() * channels, 0.0);
  torch::stable::parallel_for(
      0, samples == 0 ? 0 : static_cast<int64_t>(inputs.size()), 1, [&](int64_t i, int64_t end) {
        for (; i < end; ++i) {
          const T* x = inputs[static_cast<size_t>(i)];
          for (int64_t c = 0; c < grid.channels; ++c) {
            double sum = 0.0;
            for (int64_t s = 0; s < samples; ++s) {
              Acc scratch;
              sum +=
                  static_cast<double>(*S::load(blocks(), x + grid.offset(c, s * grid.count() / samples), &scratch, 1));
            }
            const auto shift = static_cast<Acc>(sum / static_cast<double>(samples));
            if (std::isfinite(shift)) result[static_cast<size_t>(i * grid.channels + c)] = static_cast<double>(shift);
          }
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
  for_each_chunk(grid, false, [&](int64_t chunk) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      double* first = sums.at(chunk, 2 * i);
      double* second = sums.at(chunk, 2 * i + 1);
      grid.for_each_block(chunk, [&](const Block& block) {
        alignas(64) Acc scratch[kBlock];
        const T* start = inputs[i] + block.at;
        const Acc* x = S::load(k, start, scratch, block.n);
        grid.for_each_piece(block, [&](int64_t at, int64_t n, int64_t entry) {
          arithmetic<Acc>(k).moments(first + entry, second + entry, x + at, shifts[i] + entry, grid.period(), n,
                                     S::ahead(start + block.n + at, x));
        });
      });
    }
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
  const std::vector<double> shift = shifts<T>(grid, x);
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
