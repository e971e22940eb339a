"""How Triton kernels see images stored channels last: tiles of BP consecutive pixels times BC channels.

Legend: N images, H, W pixels (h, w after the stride), C channels, P = N·h·w pixels of an output, T tiles of them; K
kernel size. A kernel with dilation d pads by d·(K // 2), which keeps H and W at stride 1.
"""

import triton
import triton.language as tl

from ddarts_kernels.triton_values import widen

WIDE_FROM = 2**31  # elements that 32-bit offsets no longer reach


@triton.jit
def pixels_of(t, pixels, height, width, BP: tl.constexpr):
    """The pixels of tile t: (number, which exist, image, row, column), each [BP]."""
    p = t * BP + tl.arange(0, BP)
    line = p // width
    return p, p < pixels, line // height, line % height, p % width


@triton.jit
def load_pixels(x, at, known, c, channels, WIDE: tl.constexpr):
    """Channels c of pixels `at` of x [P, C], wide, zero where not known, [*at, BC]."""
    mask = known[:, None] & (c < channels)[None, :]
    return widen(tl.load(x + at[:, None] * channels + c[None, :], mask, other=0.0), WIDE)


@triton.jit
def load_channels(x, c, channels, WIDE: tl.constexpr):
    """x[c], wide, zero beyond the last channel, [BC]."""
    return widen(tl.load(x + c, c < channels, other=0.0), WIDE)


@triton.jit
def tap(n, i, j, r, s, height, width, K: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr):
    """Where tap (r, s) of the kernel reads for output pixels (n, i, j): (pixel of the input, whether it is inside)."""
    row = i * STRIDE + (r - K // 2) * DILATION
    column = j * STRIDE + (s - K // 2) * DILATION
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return (n * height + row) * width + column, inside


@triton.jit
def reader(n, i, j, r, s, out_height, out_width, K: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr):
    """Which output pixel reads input pixels (n, i, j) by tap (r, s): (pixel of the output, whether there is one)."""
    row = i - (r - K // 2) * DILATION
    column = j - (s - K // 2) * DILATION
    found = (row >= 0) & (column >= 0) & (row % STRIDE == 0) & (column % STRIDE == 0)
    row = row // STRIDE
    column = column // STRIDE
    return (n * out_height + row) * out_width + column, found & (row < out_height) & (column < out_width)
