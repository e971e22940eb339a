"""The Triton kernels of pools. Legend: see reference.py and triton_pixels.py; BP pixels and BC channels of a tile."""

import triton
import triton.language as tl

from ddarts_kernels.triton_pixels import load_channels, load_pixels, pixels_of, reader, tap
from ddarts_kernels.triton_reduce import store_moments
from ddarts_kernels.triton_table import pointer
from ddarts_kernels.triton_values import narrow


@triton.jit(do_not_specialize=["images", "height", "width", "out_height", "out_width"])
def pool(
    most,
    average,
    index,
    partial,
    x,
    images,
    height,
    width,
    out_height,
    out_width,
    channels,
    STRIDE: tl.constexpr,
    WIDE: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, channels, group): both pools [G, P, C], index, and partial [G, 2, 2, T, C]
    (triton_reduce.store_moments). images, P and T: of a group. Of several NaN the last is taken, as torch does."""
    STORED: tl.constexpr = x.dtype.element_ty
    t = tl.program_id(0)
    if WIDE_INDEX:
        t = t.to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    pixels = images * out_height * out_width
    p, known, n, i, j = pixels_of(t, pixels, out_height, out_width, BP)
    g = tl.program_id(2).to(tl.int64)
    x += g * images * height * width * channels
    best = tl.full([BP, BC], float("-inf"), WIDE)
    place = tl.full([BP, BC], -1, tl.int32)
    total = tl.zeros([BP, BC], WIDE)
    count = tl.zeros([BP], tl.int32)
    for r in tl.static_range(3):
        for s in tl.static_range(3):
            at, inside = tap(n, i, j, r, s, height, width, 3, 1, STRIDE)
            inside = known & inside
            value = load_pixels(x, at, inside, c, channels, WIDE)
            better = inside[:, None] & ((place < 0) | (value > best) | (value != value))
            best = tl.where(better, value, best)
            place = tl.where(better, r * 3 + s, place)
            total += value
            count += inside.to(tl.int32)
    mean = total / tl.maximum(count, 1).to(WIDE)[:, None]
    at = g * pixels * channels + p[:, None] * channels + c[None, :]
    mask = known[:, None] & (c < channels)[None, :]
    tl.store(most + at, narrow(best, STORED), mask)
    tl.store(average + at, narrow(mean, STORED), mask)
    tl.store(index + at, place.to(tl.uint8), mask)
    tiles = tl.cdiv(pixels, BP)
    size = tl.minimum(pixels - t * BP, BP)
    partial += g * 4 * tiles * channels
    store_moments(partial, best, known, size, t, tiles, c, channels)
    store_moments(partial + 2 * tiles.to(tl.int64) * channels, mean, known, size, t, tiles, c, channels)


@triton.jit
def window(n, i, j, height, width, STRIDE: tl.constexpr, WIDE: tl.constexpr):
    """How many pixels the windows of output pixels (n, i, j) hold, [BP]."""
    count = tl.zeros([n.shape[0]], tl.int32)
    for r in tl.static_range(3):
        for s in tl.static_range(3):
            _, inside = tap(n, i, j, r, s, height, width, 3, 1, STRIDE)
            count += inside.to(tl.int32)
    return count.to(WIDE)


@triton.jit(do_not_specialize=["pixels", "height", "width", "out_height", "out_width", "edges"])
def pool_slopes(
    slopes,
    table,
    most,
    average,
    coefficients,
    pixels,
    height,
    width,
    out_height,
    out_width,
    channels,
    edges,
    STRIDE: tl.constexpr,
    ALIGNED: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, channels): slopes [2, P, C], the gradients of both pools, the average's divided by the size of its
    window. table: addresses of the E gradients; coefficients [2, E + 2, C]."""
    WIDE: tl.constexpr = slopes.dtype.element_ty
    STORED: tl.constexpr = most.dtype.element_ty
    t = tl.program_id(0)
    if WIDE_INDEX:
        t = t.to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    p, known, n, i, j = pixels_of(t, pixels, out_height, out_width, BP)
    second = coefficients + (edges + 2) * channels
    own = edges * channels
    of_most = load_channels(coefficients + own, c, channels, WIDE) * load_pixels(most, p, known, c, channels, WIDE)
    of_average = load_channels(second + own, c, channels, WIDE) * load_pixels(average, p, known, c, channels, WIDE)
    of_most += load_channels(coefficients + own + channels, c, channels, WIDE)
    of_average += load_channels(second + own + channels, c, channels, WIDE)
    for e in range(edges):
        g = load_pixels(pointer(tl.load(table + e), STORED, ALIGNED), p, known, c, channels, WIDE)
        of_most += load_channels(coefficients + e * channels, c, channels, WIDE) * g
        of_average += load_channels(second + e * channels, c, channels, WIDE) * g
    at = slopes + p[:, None] * channels + c[None, :]
    mask = known[:, None] & (c < channels)[None, :]
    tl.store(at, of_most, mask)
    share = of_average / window(n, i, j, height, width, STRIDE, WIDE)[:, None]
    tl.store(at + pixels.to(tl.int64) * channels, share, mask)


@triton.jit(do_not_specialize=["images", "height", "width", "out_height", "out_width"])
def unpool(
    dx,
    slopes,
    index,
    images,
    height,
    width,
    out_height,
    out_width,
    channels,
    STRIDE: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile of the state, channels): what all windows that hold a pixel hand it."""
    WIDE: tl.constexpr = slopes.dtype.element_ty
    t = tl.program_id(0)
    if WIDE_INDEX:
        t = t.to(tl.int64)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    p, known, n, i, j = pixels_of(t, images * height * width, height, width, BP)
    shares = slopes + out_height.to(tl.int64) * images * out_width * channels
    total = tl.zeros([BP, BC], WIDE)
    for r in tl.static_range(3):
        for s in tl.static_range(3):
            at, found = reader(n, i, j, r, s, out_height, out_width, 3, 1, STRIDE)
            found = known & found
            mask = found[:, None] & (c < channels)[None, :]
            place = tl.load(index + at[:, None] * channels + c[None, :], mask, other=9)
            slope = load_pixels(slopes, at, found, c, channels, WIDE)
            total += tl.where(place == r * 3 + s, slope, 0.0) + load_pixels(shares, at, found, c, channels, WIDE)
    mask = known[:, None] & (c < channels)[None, :]
    tl.store(dx + p[:, None] * channels + c[None, :], narrow(total, dx.dtype.element_ty), mask)
