"""mixed_sum's Triton kernels for the sum itself: batch statistics in two steps, then one pass over all inputs.

Legend: U inputs, C channels, T tiles of a channel, L length of a row of the table; tiles and table in triton_tiles.py.
"""

import triton
import triton.language as tl

from ddarts_kernels.mixed_sum.triton_tiles import (
    BATCH,
    COUNT,
    KIND,
    ORDER,
    load_input,
    normalized,
    over_channel,
    row,
    tile,
)
from ddarts_kernels.triton_reduce import elements_of, merge_moments
from ddarts_kernels.triton_values import narrow, widen


@triton.jit(do_not_specialize=["tiles"])
def tile_statistics(
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
    """Program (tile, u): partial[u, 0, t, c], the mean of the tile, and partial[u, 1, t, c], the sum of the squared
    distances from it. [U, 2, T, C]. A second look at the tile corrects the rounding of the mean, which would count
    where it is large beside the deviation."""
    u = tl.program_id(1)
    if tl.load(row(table, length, KIND) + u) == BATCH:
        WIDE: tl.constexpr = partial.dtype.element_ty
        offsets, inside, c, t = tile(outer, channels, inner, BO, BC, BI, WIDE_INDEX)
        count = elements_of(t, outer, inner, BO, BI).to(WIDE)
        x = load_input(table, length, u, offsets, inside, STORED, WIDE, ALIGNED)
        mean = over_channel(x) / count
        d = tl.where(inside, x - mean[None, :, None], 0.0)
        rest = over_channel(d)
        found = partial + (u * 2 * tiles + t).to(tl.int64) * channels + c
        tl.store(found, mean + rest / count, c < channels)
        tl.store(found + tiles.to(tl.int64) * channels, over_channel(d * d) - rest * rest / count, c < channels)


@triton.jit(do_not_specialize=["tiles", "count"])
def finish_statistics(
    mean,
    rstd,
    partial,
    table,
    length,
    outer,
    channels,
    inner,
    tiles,
    count,
    eps: tl.float64,
    BO: tl.constexpr,
    BI: tl.constexpr,
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
        means = partial + (u * 2 * tiles).to(tl.int64) * channels
        squares = means + tiles.to(tl.int64) * channels
        centre, scale = merge_moments(means, squares, outer, inner, tiles, count, eps, c, channels, BO, BI, BT)
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


@triton.jit(do_not_specialize=["terms"])
def group_sums(
    out,
    table,
    weights,
    mean,
    rstd,
    terms,
    outer,
    channels,
    inner,
    WIDE: tl.constexpr,
    ALIGNED: tl.constexpr,
    HALVES: tl.constexpr,
    UNROLL: tl.constexpr,
    BO: tl.constexpr,
    BC: tl.constexpr,
    BI: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, group): out [G, images, ...], the sum of the group's U terms. table: addresses [G, U]; weights
    [G, U]; mean and rstd [G, U, C]."""
    STORED: tl.constexpr = out.dtype.element_ty
    offsets, inside, c, _ = tile(outer, channels, inner, BO, BC, BI, WIDE_INDEX)
    g = tl.program_id(1)
    total = tl.zeros([BO, BC, BI], WIDE)
    for u in tl.range(g * terms, (g + 1) * terms, loop_unroll_factor=UNROLL):
        x = load_input(table, 0, u, offsets, inside, STORED, WIDE, ALIGNED, HALVES)
        total += widen(tl.load(weights + u), WIDE) * normalized(x, mean, rstd, u, c, channels, BATCH)
    tl.store(out + g.to(tl.int64) * outer * channels * inner + offsets, narrow(total, STORED), inside)
