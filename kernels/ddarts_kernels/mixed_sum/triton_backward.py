"""mixed_sum's Triton kernels for the gradients: sums of grad and of grad z for each channel, in two steps, from which
the gradients of the weights and, in one more pass, of the inputs follow.

Legend: U inputs, C channels, n terms, T tiles of a channel, L length of a row of the table; tiles and table in
triton_tiles.py. z[u]: input u, normalised if it has a norm.
"""

import triton
import triton.language as tl

from ddarts_kernels.mixed_sum.triton_plan import kept_terms, weight_values
from ddarts_kernels.mixed_sum.triton_tiles import (
    BATCH,
    COUNT,
    DEAD,
    KIND,
    NONE,
    ORDER,
    SOURCE,
    TARGET,
    load_input,
    normalized,
    over_channel,
    row,
    tile,
)
from ddarts_kernels.triton_reduce import sum_tiles
from ddarts_kernels.triton_table import pointer
from ddarts_kernels.triton_values import narrow, widen


@triton.jit(do_not_specialize=["inputs", "tiles"])
def sum_products(
    partial,
    grad,
    table,
    mean,
    rstd,
    inputs,
    length,
    outer,
    channels,
    inner,
    tiles,
    ALIGNED: tl.constexpr,
    HALVES: tl.constexpr,
    UNROLL: tl.constexpr,
    BO: tl.constexpr,
    BC: tl.constexpr,
    BI: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """One program to a tile: partial[u, t, c], the sum of grad z[u], and partial[U, t, c], of grad. [U + 1, T, C]."""
    STORED: tl.constexpr = grad.dtype.element_ty
    WIDE: tl.constexpr = partial.dtype.element_ty
    offsets, inside, c, t = tile(outer, channels, inner, BO, BC, BI, WIDE_INDEX)
    slope = widen(tl.load(grad + offsets, inside, other=0.0), WIDE)
    found = partial + t.to(tl.int64) * channels + c
    plane = tiles.to(tl.int64) * channels
    tl.store(found + inputs * plane, over_channel(slope), c < channels)
    for at in tl.range(0, tl.load(row(table, length, COUNT)).to(tl.int32), loop_unroll_factor=UNROLL):
        u = tl.load(row(table, length, ORDER) + at).to(tl.int32)
        x = load_input(table, length, u, offsets, inside, STORED, WIDE, ALIGNED, HALVES)
        z = normalized(x, mean, rstd, u, c, channels, tl.load(row(table, length, KIND) + u))
        tl.store(found + u * plane, over_channel(tl.where(inside, slope * z, 0.0)), c < channels)


@triton.jit(do_not_specialize=["inputs", "terms", "tiles"])
def finish_gradients(
    sums,
    grad_weights,
    partial,
    table,
    weights,
    keep,
    inputs,
    terms,
    length,
    channels,
    tiles,
    LOGITS: tl.constexpr,
    BT: tl.constexpr,
    BC: tl.constexpr,
    NB: tl.constexpr,
):
    """Program u: sums[u] [C], of grad z[u] (the last program: of grad), and the gradients of the weights of input u.

    sums: [U + 1, C]. grad_weights: [n], or None where it is not needed.
    """
    u = tl.program_id(0)
    dot = tl.zeros([BC], tl.float64)
    kind = tl.load(row(table, length, KIND) + u, u < inputs, other=NONE)
    if kind != DEAD:
        for first in range(0, channels, BC):
            c = first + tl.arange(0, BC)
            found = sum_tiles(partial + u * tiles.to(tl.int64) * channels, tiles, c, channels, BT, BC)
            tl.store(sums + u * channels + c, found.to(sums.dtype.element_ty), c < channels)
            dot += found
    if grad_weights is not None:
        WIDE: tl.constexpr = sums.dtype.element_ty
        slope = tl.sum(dot, axis=0).to(WIDE)
        for first in range(0, terms, NB):
            m = first + tl.arange(0, NB)
            kept = kept_terms(keep, m, terms)
            values = tl.where(kept, slope, 0.0)
            if LOGITS:
                p = weight_values(weights, m, kept, WIDE, LOGITS)
                values = tl.where(kept, values * p * (1.0 - p), 0.0)
            mine = tl.load(row(table, length, SOURCE) + m, m < terms, other=-1) == u
            tl.store(grad_weights + m, narrow(values, grad_weights.dtype.element_ty), mine)


@triton.jit(do_not_specialize=["inputs", "count"])
def input_gradients(
    grad,
    table,
    totals,
    sums,
    mean,
    rstd,
    inputs,
    length,
    outer,
    channels,
    inner,
    count,
    ALIGNED: tl.constexpr,
    GROUP: tl.constexpr,
    BO: tl.constexpr,
    BC: tl.constexpr,
    BI: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """Program (tile, group of inputs): the gradients of those that have a target. grad is read once, an input only
    where its batch statistics carry gradients. count: elements of a channel; sums: see finish_gradients."""
    STORED: tl.constexpr = grad.dtype.element_ty
    WIDE: tl.constexpr = totals.dtype.element_ty
    offsets, inside, c, _ = tile(outer, channels, inner, BO, BC, BI, WIDE_INDEX)
    slope = widen(tl.load(grad + offsets, inside, other=0.0), WIDE)
    start = tl.program_id(1) * GROUP
    for u in range(start, tl.minimum(start + GROUP, inputs)):
        target = tl.load(row(table, length, TARGET) + u)
        if target != 0:
            kind = tl.load(row(table, length, KIND) + u)
            value = slope
            if mean is not None:
                known = (c < channels) & (kind > NONE)
                scale = tl.load(rstd + u * channels + c, known, other=1.0)[None, :, None]
                if sums is not None:
                    if kind == BATCH:
                        x = load_input(table, length, u, offsets, inside, STORED, WIDE, ALIGNED)
                        z = normalized(x, mean, rstd, u, c, channels, kind)
                        of_grad = tl.load(sums + inputs * channels + c, c < channels, other=0.0)[None, :, None]
                        of_product = tl.load(sums + u * channels + c, c < channels, other=0.0)[None, :, None]
                        value = slope - (of_grad + z * of_product) / count.to(WIDE)
                value = value * scale
            value = tl.where(kind != DEAD, tl.load(totals + u) * value, 0.0)
            tl.store(pointer(target, STORED, ALIGNED) + offsets, narrow(value, STORED), inside)
