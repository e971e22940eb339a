// How a tensor is cut into blocks and chunks, the same for every number of threads.
//
// A dense tensor is seen as (outer, C, inner): channel c of N images lies in runs of `inner` elements. Three forms:
//   one channel (no BN)      a single run
//   rows (contiguous)        runs of inner > 1 elements, one channel each: coefficients of period 1
//   pixels (channels_last)   inner = 1: channels alternate, coefficients of a period that holds whole pixels
// A block is at most kBlock elements, of whole runs or pixels where they fit. It is worked on piece by piece: a piece
// belongs to one channel (rows), or is the block. A chunk is what a thread takes at a time.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "blocks.h"

namespace ddarts {

struct Block {
  int64_t at, n;  // first element in the tensor, elements
};

class Grid {
 public:
  const int64_t numel, channels, inner;

  Grid(int64_t numel, int64_t channels, int64_t inner)
      : numel(numel), channels(channels), inner(channels == 1 ? numel : inner) {
    if (numel == 0) return;
    const bool rows = channels == 1 || inner > 1;
    const int64_t unit = rows ? this->inner : channels;
    line_ = unit > kBlock ? unit : numel;
    block_ = unit > kBlock ? kBlock : whole(unit) * unit;
    piece_ = rows ? std::min(this->inner, block_) : block_;
    if (!rows) {
      period_ = std::min(std::lcm(channels, kPeriodStep), round_up(std::min(std::max(channels, block_), numel)));
    }
    width_ = rows ? channels : period_;
    blocks_per_line_ = divide_up(line_, block_);
    blocks_ = numel / line_ * blocks_per_line_;
    // Chunks hold eight elements of every channel or more, so that their sums never outweigh the tensor.
    blocks_per_chunk_ = std::max<int64_t>(8, divide_up(8 * channels, block_));
  }

  int64_t chunks() const { return divide_up(blocks_, blocks_per_chunk_); }
  int64_t period() const { return period_; }  // of coefficients and sums: 1, or a multiple of kPeriodStep
  int64_t width() const { return width_; }    // entries of coefficients and sums for one input
  int64_t count() const { return channels == 0 ? 0 : numel / channels; }  // elements of a channel

  // Where element i of channel 0 lies; that of channel c is c * inner further.
  int64_t offset(int64_t i) const { return i / inner * channels * inner + i % inner; }

  // The entry of coefficients and sums that belongs to an element.
  int64_t entry(int64_t at) const {
    if (period_ == 1) return at / inner % channels;
    return channels > kBlock ? at % channels : 0;  // other blocks start with a pixel
  }

  // Calls body(block) for every block of a chunk, in order.
  template <typename Body>
  void for_each_block(int64_t chunk, const Body& body) const {
    const int64_t stop = std::min(blocks_, (chunk + 1) * blocks_per_chunk_);
    for (int64_t b = chunk * blocks_per_chunk_; b < stop; ++b) {
      const int64_t start = b % blocks_per_line_ * block_;
      body(Block{b / blocks_per_line_ * line_ + start, std::min(block_, line_ - start)});
    }
  }

  // Calls body(offset in the block, elements, entry) for every piece of a block, in order.
  template <typename Body>
  void for_each_piece(const Block& block, const Body& body) const {
    for (int64_t i = 0; i < block.n; i += piece_) body(i, std::min(piece_, block.n - i), entry(block.at + i));
  }

 private:
  int64_t line_ = 0, block_ = 1, piece_ = 1, period_ = 1, width_ = 0, blocks_per_line_ = 1, blocks_ = 0;
  int64_t blocks_per_chunk_ = 1;

  static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
  static int64_t round_up(int64_t n) { return divide_up(n, kPeriodStep) * kPeriodStep; }

  // Units in a block: a multiple of 8 where there are so many, which keeps blocks on 32-byte boundaries.
  static int64_t whole(int64_t unit) {
    const int64_t fit = kBlock / unit;
    return fit < 8 ? fit : fit / 8 * 8;
  }
};

// Calls body(chunk) for every chunk, in parallel; each thread takes its own in order. (Every pass goes the same way: to
// turn round and start with what the caches still hold is slower where they keep what is read again and again.)
template <typename Body>
void for_each_chunk(const Grid& grid, const Body& body) {
  torch::stable::parallel_for(0, grid.chunks(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) body(chunk);
  });
}

// Where a pass over the inputs goes on after a block of x[i]: the next input's block, or the first one's next.
template <typename Input>
Input following(const std::vector<Input>& x, size_t i, const Block& block) {
  return i + 1 < x.size() ? x[i + 1] + block.at : x[0] + block.at + block.n;
}

// One coefficient for each channel of each input, spread over the period.
template <typename Acc>
class Coefficients {
 public:
  // value(u, c): for input u of `inputs` and channel c.
  template <typename Value>
  Coefficients(const Grid& grid, size_t inputs, const Value& value)
      : width_(static_cast<size_t>(grid.width())), values_(inputs * width_) {
    const auto channels = static_cast<size_t>(grid.channels);
    for (size_t u = 0; u < inputs; ++u) {
      Acc* row = values_.data() + u * width_;
      for (size_t p = 0; p < width_; ++p) row[p] = p < channels ? static_cast<Acc>(value(u, p)) : row[p - channels];
    }
  }

  const Acc* operator[](size_t u) const { return values_.data() + u * width_; }

 private:
  size_t width_;
  std::vector<Acc> values_;
};

// Sums per chunk, added in order at the end.
class ChunkSums {
 public:
  ChunkSums(const Grid& grid, size_t rows)
      : grid_(grid), rows_(rows), values_(static_cast<size_t>(grid.chunks() * grid.width()) * rows, 0.0) {}

  double* at(int64_t chunk, size_t row) {
    return values_.data() + (static_cast<size_t>(chunk) * rows_ + row) * static_cast<size_t>(grid_.width());
  }

  // Over all chunks: [rows, C].
  std::vector<double> total() const {
    const auto channels = static_cast<size_t>(grid_.channels);
    const auto width = static_cast<size_t>(grid_.width());
    std::vector<double> sums(rows_ * channels, 0.0);
    for (size_t at = 0; at < values_.size(); at += width) {
      double* row = sums.data() + at / width % rows_ * channels;
      for (size_t p = 0, c = 0; p < width; ++p, c = c + 1 == channels ? 0 : c + 1) row[c] += values_[at + p];
    }
    return sums;
  }

 private:
  const Grid& grid_;
  size_t rows_;
  std::vector<double> values_;
};

}  // namespace ddarts
