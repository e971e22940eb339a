"""stage's Triton kernel for one kind of convolution: (BN and) ReLU on load, depthwise, pointwise, and each tile's share
of the statistics. Legend: see reference.py and triton_pixels.py; BC input and BO output channels at a time."""

import triton
import triton.language as tl

from ddarts_kernels.triton_pixels import load_channels, load_pixels, pixels_of, tap
from ddarts_kernels.triton_reduce import store_moments
from ddarts_kernels.triton_values import narrow, widen


@triton.jit
def normal_of(x, mean, rstd, c, channels):
    """z of a block of x whose last dimension are the channels c: BN of x, or x itself where mean is None."""
    z = x
    if mean is not None:
        m = load_channels(mean, c, channels, x.dtype)
        r = load_channels(rstd, c, channels, x.dtype)
        z = (x - m) * r
    return z


@triton.jit
def rectified(z, inside):
    """ReLU(z), and zero outside, where BN has made something of the padding. NaN stays NaN."""
    return tl.where(inside & ((z > 0) | (z != z)), z, 0.0)


@triton.jit
def convolved(
    x,
    taps,
    mean,
    rstd,
    n,
    i,
    j,
    known,
    c,
    height,
    width,
    channels,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The depthwise convolution of ReLU(z) for output pixels (n, i, j) and channels c, [BP, BC]; taps: [K, K, C]."""
    total = tl.zeros([n.shape[0], c.shape[0]], WIDE)
    for r in range(K):  # unrolled, it would take too many registers
        for s in tl.static_range(K):
            at, inside = tap(n, i, j, r, s, height, width, K, DILATION, STRIDE)
            inside = known & inside
            z = normal_of(load_pixels(x, at, inside, c, channels, WIDE), mean, rstd, c, channels)
            total += rectified(z, inside[:, None]) * load_channels(taps + (r * K + s) * channels, c, channels, WIDE)
    return total


@triton.jit
def input_of(x, mean, rstd, e, g, images, height, width, channels, INPUTS: tl.constexpr, GROUPS: tl.constexpr):
    """What edge e reads for group g of x [X, G, images, H, W, C], mean and rstd [G, X, C]."""
    own = e % INPUTS  # 0 where all edges read the same
    x += (own * GROUPS + g).to(tl.int64) * images * height * width * channels
    if mean is not None:
        mean += (g * INPUTS + own) * channels
        rstd += (g * INPUTS + own) * channels
    return x, mean, rstd


@triton.jit(do_not_specialize=["images", "height", "width", "out_height", "out_width"])
def stage_forward(
    y,
    partial,
    x,
    depthwise,
    pointwise,
    mean,
    rstd,
    images,
    height,
    width,
    out_height,
    out_width,
    channels,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
    KINDS: tl.constexpr,
    INPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    BO: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, edge and group, output channels): y [E, G, P, C] and partial [G, S, E, 2, T, C], of which the
    first kind is this one (triton_reduce.store_moments). images, P and T: of a group."""
    t = tl.program_id(0)
    if WIDE_INDEX:
        t = t.to(tl.int64)
    line = tl.program_id(1)
    e = line // GROUPS
    g = line % GROUPS
    o = tl.program_id(2) * BO + tl.arange(0, BO)
    pixels = images * out_height * out_width
    p, known, n, i, j = pixels_of(t, pixels, out_height, out_width, BP)
    x, mean, rstd = input_of(x, mean, rstd, e, g, images, height, width, channels, INPUTS, GROUPS)
    taps = depthwise + e * K * K * channels
    mixes = pointwise + e * channels * channels
    total = tl.zeros([BP, BO], WIDE)
    for first in range(0, channels, BC):
        c = first + tl.arange(0, BC)
        middle = convolved(
            x, taps, mean, rstd, n, i, j, known, c, height, width, channels, K, DILATION, STRIDE, WIDE
        )  # fmt: skip
        mask = (c < channels)[:, None] & (o < channels)[None, :]
        mix = widen(tl.load(mixes + c[:, None] * channels + o[None, :], mask, other=0.0), WIDE)
        total = tl.dot(middle, mix, total, input_precision=PRECISION, out_dtype=WIDE)
    at = y + line.to(tl.int64) * pixels * channels + p[:, None] * channels + o[None, :]
    tl.store(at, narrow(total, y.dtype.element_ty), known[:, None] & (o < channels)[None, :])
    tiles = tl.cdiv(pixels, BP)
    count = tl.minimum(pixels - t * BP, BP)
    partial += (g * KINDS * (tl.num_programs(1) // GROUPS) + e).to(tl.int64) * 2 * tiles * channels
    store_moments(partial, total, known, count, t, tiles, o, channels)
