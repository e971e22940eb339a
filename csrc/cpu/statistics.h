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

// The median of a few numbers of one channel, evenly spread; 0 where none is finite. A number of the channel itself
// differs from the others by what storage types hold exactly, which a mean would not.
template <typename T>
double shift_of(const Grid& grid, const T* x, int64_t channel) {
  constexpr int64_t kSamples = 9;
  typename Storage<T>::Acc samples[kSamples], scratch;
  int64_t finite = 0;
  for (int64_t s = 0; s < std::min(kSamples, grid.count()); ++s) {
    const int64_t at = grid.offset(channel, s * grid.count() / kSamples);
    samples[finite] = *Storage<T>::load(blocks(), x + at, &scratch, 1);
    finite += std::isfinite(samples[finite]);
  }
  if (finite == 0) return 0.0;
  std::nth_element(samples, samples + finite / 2, samples + finite);
  return static_cast<double>(samples[finite / 2]);
}

// [inputs, C]
template <typename T>
std::vector<double> shifts_of(const Grid& grid, const std::vector<const T*>& inputs) {
  std::vector<double> result(inputs.size() * static_cast<size_t>(grid.channels));
  torch::stable::parallel_for(0, static_cast<int64_t>(inputs.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t c = 0; c < grid.channels; ++c) {
        result[static_cast<size_t>(i * grid.channels + c)] = shift_of(grid, inputs[static_cast<size_t>(i)], c);
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
