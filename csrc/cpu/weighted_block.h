// One block of out = sum_u scale[u, c] (x[u] - mean[u, c]).
//
// Subtracting the mean first costs nothing (memory is the limit) and keeps the digits that a constant added at the end
// would lose where |mean| is far above the standard deviation.
#pragma once

#include <algorithm>
#include <vector>

#include "grid.h"
#include "storage.h"

namespace ddarts {

// `inputs`: at least one, dense. T is the storage type of the sum, Acc the type of every addition.
template <typename T, typename Acc = typename Storage<T>::Acc>
void weighted_block(const Grid& grid, const Block& block, const std::vector<Numbers<Acc>>& inputs,
                    const Coefficients<Acc>& scale, const Coefficients<Acc>& mean, T* out, bool stream) {
  using S = Storage<T>;
  const Blocks& k = blocks();
  const size_t last = inputs.size() - 1;
  alignas(64) Acc scratch[kBlock], sum[kBlock];
  std::fill_n(sum, block.n, Acc{0});
  for (size_t i = 0; i <= last; ++i) {
    const Numbers<Acc> next = following(inputs, i, block);
    const Acc* x = (inputs[i] + block.at).load(scratch, block.n);
    Acc* target = i < last ? sum : S::target(out + block.at, sum);
    grid.for_each_piece(block, [&](int64_t at, int64_t n, int64_t entry) {
      arithmetic<Acc>(k).add(target + at, sum + at, x + at, scale[i] + entry, mean[i] + entry, grid.period(), n,
                             (next + at).ahead(x), stream && i == last);
    });
  }
  S::store(k, out + block.at, sum, block.n);
}

}  // namespace ddarts
