// What one call of stage or stage_backward asks of the kernels: plain data, free of torch and of instruction sets.
//
// Legend: X inputs, E edges, S kinds of kernel, N images in G groups, H, W pixels of x, h, w pixels of y, K kernel
// size, C channels, L lanes of a vector, B = ceil(C / L) blocks of channels. Arrays inside the kernels are blocked,
// [B][pixels][L], and zero in the lanes past C.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "project_plan.h"
#include "stored.h"

namespace ddarts {

constexpr int64_t kColumns = 8;            // neighbouring outputs that the depthwise kernels keep in registers
constexpr int64_t kTileBytes = 16 * 1024;  // depthwise output between the two convolutions: stays in the first cache

inline int64_t rounded_up(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

// One kind of kernel: K x K taps, `dilation` apart.
struct StageKind {
  int64_t size, dilation;
  int64_t padding() const { return size / 2 * dilation; }
  int64_t taps() const { return size * size; }
};

struct StageShape {
  int64_t inputs, edges, kinds, images, height, width, channels, stride;  // X, E, S, N, H, W, C
  int64_t groups;                                                         // G: consecutive images, as many of each
  int64_t out_height, out_width;                                          // h, w
  int64_t lanes, blocks;                                                  // L, B
  int64_t tile_rows;                                                      // rows of y computed at a time
  // u = ReLU(z) and g, the gradient of the depthwise output, lie in rows with zeros on both sides: columns to the left,
  // and columns altogether. There are none above and below: the kernels skip taps outside the image.
  int64_t u_left, u_pitch, g_left, g_pitch;
  int64_t du_pitch;  // columns in a row of the gradient of u

  int64_t padded() const { return blocks * lanes; }
  int64_t out_pixels() const { return out_height * out_width; }
  int64_t tile_pixels() const { return tile_rows * out_width + kColumns; }  // the last row may be written past its end
};

template <typename Real>
struct StageInput {
  StageShape shape;
  Stored<Real> x_as;
  const StageKind* kinds;        // [S]
  const char* x;                 // [X, N, H, W, C]
  const Real *mean, *rstd;       // [G][X][B * L]; 0 and 1 without BN
  const Real* const* taps;       // [S * E] of [B][K * K][L]
  const Real* const* pointwise;  // [S * E] of [B][B * L][L]: for a block of outputs, the weights of each input
};

template <typename Real>
struct StageForward {
  StageInput<Real> in;
  Stored<Real> y_as;
  char* const* y;  // [S] of [E, N, h, w, C]
};

template <typename Real>
struct StageBackward {
  StageInput<Real> in;          // its pointwise is transposed: for a block of inputs, the weights of each output
  Stored<Real> grads_as, y_as;  // dz is stored like the gradients
  const char* const* grads;     // [S * E] of [N, h, w, C]
  const char* const* y;         // [S] of [E, N, h, w, C]
  const Real* coefficients;     // [S * E][3][B * L]
  char* dz;                     // [X, N, H, W, C]
  bool need_weights;
};

// What a chunk of images contributes for one kind and edge: moments of y about a shift near its values, so that nothing
// cancels when |mean| >> std: [3][B * L], the shift, the sum of y - shift and the sum of (y - shift)^2. And gradients
// of the weights: taps [B][K * K][L] and pointwise [B][B * L inputs][L].
template <typename Real>
struct StageChunk {
  int64_t input, group;    // all edges that read this input
  int64_t begin, end;      // images, of one group
  double* const* moments;  // forward: [S * E]
  double* sums;            // backward: [2][B * L], of dz and dz z
  Real* const* taps;       // backward: [S * E]
  Real* const* pointwise;  // backward: [S * E]
};

// `scratch` is aligned to 64 bytes and was zero before its first use.
template <typename Real>
struct StageTable {
  int64_t lanes;
  int64_t (*forward_scratch)(const StageShape&);
  int64_t (*backward_scratch)(const StageShape&);
  void (*forward)(const StageForward<Real>&, const StageChunk<Real>&, Real* scratch);
  void (*backward)(const StageBackward<Real>&, const StageChunk<Real>&, Real* scratch);
  ProjectKernels<Real> project;
};

// The kernels for this many channels on this machine.
template <typename Real>
const StageTable<Real>& stage_table(int64_t channels);

}  // namespace ddarts
