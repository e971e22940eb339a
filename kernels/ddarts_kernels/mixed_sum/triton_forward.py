"""mixed_sum's Triton kernels for the sum itself: batch statistics in two steps, then one pass over all inputs.

Legend: U inputs, C channels, T tiles of a channel, L length of a row of the table; tiles and table in triton_tiles.py.
"""

import triton
import triton.language as tl

from ddarts_kernels.mixed_sum.triton_tiles import (
    ADDRESS,
    BATCH,
    COUNT,
    KIND,
    ORDER,
    load_input,
    normalized,
    over_channel,
    pointer,
    row,
    tile,
)
from ddarts_kernels.triton_values import narrow, widen


@triton.jit
def first_of_channel(table, length, u, c, channels, inner, STORED: tl.constexpr, WIDE: tl.constexpr):
    """The first element of each channel of input u, [BC]: near enough to the mean to take out what is common."""
    x = pointer(tl.load(row(table, length, ADDRESS) + u), STORED, False)
    return widen(tl.load(x + c * inner, c < channels, other=0.0), WIDE)


@triton.jit(do_not_specialize=["tiles"])
def sum_squares(
    partial,
    table,
    length,
    outer,
    channels,
    inner,
    tiles,
    STORED: tl.constexpr,
    ALIGNED: tl.constexpr,
    BO: tl.constexpr,
    BC: tl.constexpr,
    BI: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, u): partial[u, 0 and 1, t, c], sums of x - first and of its square. partial: [U, 2, T, C]."""
    u = tl.program_id(1)
    if tl.load(row(table, length, KIND) + u) == BATCH:
        WIDE: tl.constexpr = partial.dtype.element_ty
        offsets, inside, c, t = tile(outer, channels, inner, BO, BC, BI, WIDE_INDEX)
        first = first_of_channel(table, length, u, c, channels, inner, STORED, WIDE)
        x = load_input(table, length, u, offsets, inside, STORED, WIDE, ALIGNED)
        d = tl.where(inside, x - first[None, :, None], 0.0)
        found = partial + (u * 2 * tiles + t).to(tl.int64) * channels + c
        tl.store(found, over_channel(d), c < channels)
        tl.store(found + tiles.to(tl.int64) * channels, over_channel(d * d), c < channels)


@triton.jit
def over_tiles(partial, tiles, c, channels, BT: tl.constexpr, BC: tl.constexpr):
    """Sums over the first dimension of partial [T, C] in float64, [BC]."""
    total = tl.zeros([BT, BC], tl.float64)
    for first in range(0, tiles, BT):
        t = first + tl.arange(0, BT)[:, None]
        known = (t < tiles) & (c < channels)[None, :]
        total += tl.load(partial + t.to(tl.int64) * channels + c[None, :], known, other=0.0).to(tl.float64)
    return tl.sum(total, axis=0)


@triton.jit(do_not_specialize=["tiles", "count"])
def finish_statistics(
    mean,
    rstd,
    partial,
    table,
    length,
    channels,
    inner,
    tiles,
    count,
    eps: tl.float64,
    STORED: tl.constexpr,
    BT: tl.constexpr,
    BC: tl.constexpr,
):
    """Program (channels, u): mean and 1 / sqrt(variance + eps), [U, C]; 0 and 1 where there are none to find.

    count: elements of a channel.
    """
    u = tl.program_id(1)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    centre = tl.zeros([BC], tl.float64)
    scale = tl.full([BC], 1.0, tl.float64)
    if tl.load(row(table, length, KIND) + u) == BATCH:
        sums = partial + (u * 2 * tiles).to(tl.int64) * channels
        squares = sums + tiles.to(tl.int64) * channels
        shift = over_tiles(sums, tiles, c, channels, BT, BC) / count.to(tl.float64)
        variance = over_tiles(squares, tiles, c, channels, BT, BC) / count.to(tl.float64) - shift * shift
        variance = tl.where(variance < 0.0, 0.0, variance)
        first = first_of_channel(table, length, u, c, channels, inner, STORED, mean.dtype.element_ty)
        centre = first.to(tl.float64) + shift
        scale = 1.0 / tl.sqrt(variance + eps)
    tl.store(mean + u * channels + c, centre.to(mean.dtype.element_ty), c < channels)
    tl.store(rstd + u * channels + c, scale.to(mean.dtype.element_ty), c < channels)


@triton.jit
def weighted_sum(
    out,
    table,
    totals,
    mean,
    rstd,
    length,
    outer,
    channels,
    inner,
    ALIGNED: tl.constexpr,
    UNROLL: tl.constexpr,
    BO: tl.constexpr,
    BC: tl.constexpr,
    BI: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """One program to a tile: the sum over all inputs that are alive, each read once."""
    STORED: tl.constexpr = out.dtype.element_ty
    WIDE: tl.constexpr = totals.dtype.element_ty
    offsets, inside, c, _ = tile(outer, channels, inner, BO, BC, BI, WIDE_INDEX)
    total = tl.zeros([BO, BC, BI], WIDE)
    for at in tl.range(0, tl.load(row(table, length, COUNT)).to(tl.int32), loop_unroll_factor=UNROLL):
        u = tl.load(row(table, length, ORDER) + at).to(tl.int32)
        x = load_input(table, length, u, offsets, inside, STORED, WIDE, ALIGNED)
        z = normalized(x, mean, rstd, u, c, channels, tl.load(row(table, length, KIND) + u))
        total += tl.load(totals + u) * z
    tl.store(out + offsets, narrow(total, STORED), inside)
