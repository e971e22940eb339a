// The work of one call in fixed chunks of images, so that sums do not depend on the number of threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "aligned.h"
#include "stage_plan.h"

namespace ddarts {

constexpr int64_t kChunks = 16;  // of a group's images, at most; times the inputs, where edges read different ones
constexpr int64_t kChunkPixels =
    128;  // of the output, at least: adding up the chunks' sums must not cost more than they

class Chunks {
 public:
  // pixels: of the output, in an image.
  Chunks(int64_t inputs, int64_t groups, int64_t images, int64_t pixels)
      : inputs_(inputs),
        groups_(groups),
        images_(images / groups),
        chunks_(std::min({images_, kChunks, (images_ * pixels + kChunkPixels - 1) / kChunkPixels})) {}
  explicit Chunks(const StageShape& g) : Chunks(g.inputs, g.groups, g.images, g.out_pixels()) {}

  int64_t per_group() const { return chunks_; }
  int64_t per_input() const { return chunks_ * groups_; }
  int64_t count() const { return per_input() * inputs_; }
  int64_t input(int64_t i) const { return i / per_input(); }
  int64_t group(int64_t i) const { return i % per_input() / chunks_; }
  int64_t begin(int64_t i) const { return group(i) * images_ + i % chunks_ * images_ / chunks_; }
  int64_t end(int64_t i) const { return group(i) * images_ + (i % chunks_ + 1) * images_ / chunks_; }

  // Of each chunk of a group.
  std::vector<double> pixels_of_group(int64_t pixels) const {
    std::vector<double> counts;
    for (int64_t i = 0; i < chunks_; ++i) counts.push_back(static_cast<double>((end(i) - begin(i)) * pixels));
    return counts;
  }

  // body(chunk, scratch): each thread takes the next chunk, and has its own scratch of this many numbers.
  template <typename Real, typename Body>
  void run(int64_t scratch_size, const Body& body) const {
    std::atomic<int64_t> next = 0;
    torch::stable::parallel_for(0, count(), 1, [&](int64_t, int64_t) {
      Aligned<Real> scratch;
      for (int64_t i = next++; i < count(); i = next++) {
        if (scratch.data() == nullptr) scratch = Aligned<Real>(scratch_size);
        body(i, scratch.data());
      }
    });
  }

 private:
  int64_t inputs_, groups_, images_, chunks_;  // the images of a group, and their chunks
};

}  // namespace ddarts
