"""stage's Triton kernels for the gradients. Legend: see reference.py, triton_pixels.py and triton_forward.py.

The gradient of what lies between the convolutions, m = dy·pointwiseᵀ [S, E, P, C], is kept in the type of sums: from it
follow the gradients of x and of depthwise. Those of the parameters are summed in chunks of pixels, one program to a
chunk: partial [chunks, all parameters of the kind, flat].

table: addresses of the gradients of y (S·E), then for each kind of y, pointwise and depthwise.
"""

import triton
import triton.language as tl

from ddarts_kernels.stage.triton_forward import convolved, input_of, normal_of, rectified
from ddarts_kernels.triton_pixels import load_channels, load_pixels, pixels_of, reader, tap
from ddarts_kernels.triton_table import pointer
from ddarts_kernels.triton_values import narrow, widen


@triton.jit
def slope(grad, y, lines, p, known, c, channels, WIDE: tl.constexpr):
    """dy of pixels p and channels c from the gradient of what follows, zero outside; lines: coefficients [3, C]."""
    g = load_pixels(grad, p, known, c, channels, WIDE)
    v = load_pixels(y, p, known, c, channels, WIDE)
    of_grad = load_channels(lines, c, channels, WIDE)
    of_y = load_channels(lines + channels, c, channels, WIDE)
    dy = of_grad * g + of_y * v + load_channels(lines + 2 * channels, c, channels, WIDE)
    return tl.where(known[:, None], dy, 0.0)


@triton.jit(do_not_specialize=["pixels"])
def middle_gradients(
    middle,
    table,
    coefficients,
    pixels,
    channels,
    EDGES: tl.constexpr,
    KINDS: tl.constexpr,
    SLOPE: tl.constexpr,
    OUTPUT: tl.constexpr,
    WEIGHT: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    BO: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, kind and edge, channels between): m. SLOPE, OUTPUT, WEIGHT: types of grads, y and pointwise."""
    WIDE: tl.constexpr = middle.dtype.element_ty
    t = tl.program_id(0)
    if WIDE_INDEX:
        t = t.to(tl.int64)
    line = tl.program_id(1)
    s = line // EDGES
    e = line % EDGES
    p = t * BP + tl.arange(0, BP)
    known = p < pixels
    grad = pointer(tl.load(table + line), SLOPE, ALIGNED)
    plane = pixels.to(tl.int64) * channels
    y = pointer(tl.load(table + KINDS * EDGES + s), OUTPUT, ALIGNED) + e * plane
    mixes = pointer(tl.load(table + KINDS * (EDGES + 1) + s), WEIGHT, ALIGNED) + e * channels * channels
    c = tl.program_id(2) * BO + tl.arange(0, BO)
    total = tl.zeros([BP, BO], WIDE)
    for first in range(0, channels, BC):
        o = first + tl.arange(0, BC)
        dy = slope(grad, y, coefficients + line * 3 * channels, p, known, o, channels, WIDE)
        mask = (o < channels)[:, None] & (c < channels)[None, :]
        mix = widen(tl.load(mixes + c[None, :] * channels + o[:, None], mask, other=0.0), WIDE)
        total = tl.dot(dy, mix, total, input_precision=PRECISION, out_dtype=WIDE)
    at = middle + line * plane + p[:, None] * channels + c[None, :]
    tl.store(at, total, known[:, None] & (c < channels)[None, :])


@triton.jit(do_not_specialize=["chunk", "columns", "images", "height", "width", "out_height", "out_width"])
def tap_gradients(
    partial,
    middle,
    x,
    mean,
    rstd,
    chunk,
    columns,
    images,
    height,
    width,
    out_height,
    out_width,
    channels,
    K: tl.constexpr,
    KP: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
    INPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (chunk, edge and row of the kernel, channels): the gradients of a row of taps, Σ m·ReLU(z). KP: a power
    of two, at least K; middle: m of this kind."""
    WIDE: tl.constexpr = partial.dtype.element_ty
    e = tl.program_id(1) // K
    r = tl.program_id(1) % K
    s = tl.arange(0, KP)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    pixels = images * out_height * out_width
    tiles = tl.cdiv(pixels, BP)
    x, mean, rstd = input_of(x, mean, rstd, e, 0, images, height, width, channels, INPUTS, GROUPS)
    middle += e.to(tl.int64) * pixels * channels
    total = tl.zeros([KP, BP, BC], WIDE)
    first = tl.program_id(0) * chunk
    if WIDE_INDEX:
        first = first.to(tl.int64)
    for t in range(first, tl.minimum(first + chunk, tiles)):
        p, known, n, i, j = pixels_of(t, pixels, out_height, out_width, BP)
        at, inside = tap(n[None, :], i[None, :], j[None, :], r, s[:, None], height, width, K, DILATION, STRIDE)
        inside = inside & known[None, :] & (s < K)[:, None]
        mask = inside[:, :, None] & (c < channels)[None, None, :]
        z = widen(tl.load(x + at[:, :, None] * channels + c[None, None, :], mask, other=0.0), WIDE)
        u = rectified(normal_of(z, mean, rstd, c, channels), mask)
        total += u * load_pixels(middle, p, known, c, channels, WIDE)[None, :, :]
    found = tl.sum(total, axis=1)
    out = partial + tl.program_id(0).to(tl.int64) * columns + ((e * K + r) * K + s)[:, None] * channels + c[None, :]
    tl.store(out, found, (s < K)[:, None] & (c < channels)[None, :])


@triton.jit(do_not_specialize=["chunk", "columns", "images", "height", "width", "out_height", "out_width"])
def mix_gradients(
    partial,
    table,
    y,
    coefficients,
    x,
    depthwise,
    mean,
    rstd,
    chunk,
    columns,
    images,
    height,
    width,
    out_height,
    out_width,
    channels,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
    INPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    SLOPE: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    BO: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (chunk, edge, input and output channels): the gradient of pointwise, Σ middleᵀ·dy, behind those of the
    taps in `partial`; what lies between the convolutions is computed again. table, y, coefficients: of this kind."""
    WIDE: tl.constexpr = partial.dtype.element_ty
    e = tl.program_id(1)
    blocks = tl.cdiv(channels, BO)
    c = (tl.program_id(2) // blocks) * BC + tl.arange(0, BC)
    o = (tl.program_id(2) % blocks) * BO + tl.arange(0, BO)
    pixels = images * out_height * out_width
    tiles = tl.cdiv(pixels, BP)
    grad = pointer(tl.load(table + e), SLOPE, ALIGNED)
    y += e.to(tl.int64) * pixels * channels
    x, mean, rstd = input_of(x, mean, rstd, e, 0, images, height, width, channels, INPUTS, GROUPS)
    taps = depthwise + e * K * K * channels
    total = tl.zeros([BC, BO], WIDE)
    first = tl.program_id(0) * chunk
    if WIDE_INDEX:
        first = first.to(tl.int64)
    for t in range(first, tl.minimum(first + chunk, tiles)):
        p, known, n, i, j = pixels_of(t, pixels, out_height, out_width, BP)
        middle = convolved(
            x, taps, mean, rstd, n, i, j, known, c, height, width, channels, K, DILATION, STRIDE, WIDE
        )  # fmt: skip
        dy = slope(grad, y, coefficients + e * 3 * channels, p, known, o, channels, WIDE)
        total = tl.dot(tl.trans(middle), dy, total, input_precision=PRECISION, out_dtype=WIDE)
    edges = tl.num_programs(1)
    out = partial + tl.program_id(0).to(tl.int64) * columns + edges * K * K * channels
    out += (e * channels + c[:, None]) * channels + o[None, :]
    tl.store(out, total, (c < channels)[:, None] & (o < channels)[None, :])


@triton.jit
def spread(
    middle,
    taps,
    n,
    i,
    j,
    known,
    c,
    out_height,
    out_width,
    channels,
    K: tl.constexpr,
    DILATION: tl.constexpr,
    STRIDE: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The gradient of `convolved` in its input: what m of one edge leaves at input pixels (n, i, j), [BP, BC]."""
    total = tl.zeros([n.shape[0], c.shape[0]], WIDE)
    for r in range(K):  # unrolled, it would take too many registers
        for s in tl.static_range(K):
            at, found = reader(n, i, j, r, s, out_height, out_width, K, DILATION, STRIDE)
            m = load_pixels(middle, at, known & found, c, channels, WIDE)
            total += m * load_channels(taps + (r * K + s) * channels, c, channels, WIDE)
    return total


@triton.jit(do_not_specialize=["images", "height", "width", "out_height", "out_width"])
def input_gradients(
    dz,
    partial,
    middle,
    table,
    x,
    mean,
    rstd,
    images,
    height,
    width,
    out_height,
    out_width,
    channels,
    KERNELS: tl.constexpr,
    DILATIONS: tl.constexpr,
    EDGES: tl.constexpr,
    STRIDE: tl.constexpr,
    INPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    WEIGHT: tl.constexpr,
    ALIGNED: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, input, channels): dz, and with BN the tile's share of Σ dz and Σ dz·z, partial [X, 2, T, C]."""
    WIDE: tl.constexpr = middle.dtype.element_ty
    t = tl.program_id(0)
    if WIDE_INDEX:
        t = t.to(tl.int64)
    own = tl.program_id(1)
    c = tl.program_id(2) * BC + tl.arange(0, BC)
    pixels = images * height * width
    p, known, n, i, j = pixels_of(t, pixels, height, width, BP)
    x, mean, rstd = input_of(x, mean, rstd, own, 0, images, height, width, channels, INPUTS, GROUPS)
    plane = out_height.to(tl.int64) * images * out_width * channels
    total = tl.zeros([BP, BC], WIDE)
    for kind in tl.static_range(len(KERNELS)):
        taps = pointer(tl.load(table + len(KERNELS) * (EDGES + 2) + kind), WEIGHT, ALIGNED)
        for e in range(own, EDGES, INPUTS):
            m = middle + (kind * EDGES + e) * plane
            own_taps = taps + e * KERNELS[kind] * KERNELS[kind] * channels
            total += spread(
                m, own_taps, n, i, j, known, c, out_height, out_width, channels, KERNELS[kind], DILATIONS[kind], STRIDE,
                WIDE,
            )  # fmt: skip
    z = normal_of(load_pixels(x, p, known, c, channels, WIDE), mean, rstd, c, channels)
    total = tl.where((z > 0) | (z != z), total, 0.0)
    mask = known[:, None] & (c < channels)[None, :]
    at = dz + own.to(tl.int64) * pixels * channels + p[:, None] * channels + c[None, :]
    tl.store(at, narrow(total, dz.dtype.element_ty), mask)
    if partial is not None:
        tiles = tl.cdiv(pixels, BP)
        out = partial + (own.to(tl.int64) * 2 * tiles + t) * channels + c
        tl.store(out, tl.sum(total, axis=0), c < channels)
        products = tl.where(mask, total * z, 0.0)
        tl.store(out + tiles.to(tl.int64) * channels, tl.sum(products, axis=0), c < channels)
