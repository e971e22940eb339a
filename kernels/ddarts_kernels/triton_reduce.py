"""Reductions over pixels in two steps without atomics: each program leaves what it found of its tile, and a second
kernel puts the tiles together in float64, always in the same order: the same bits each time.

Legend: R rows (reductions of the same length), T tiles that a row is cut into, C channels; a tile holds BO x BI
elements of (outer, inner) of a channel, the last ones fewer.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ddarts_kernels.triton_launch import launch


@triton.jit
def elements_of(t, outer, inner, BO: tl.constexpr, BI: tl.constexpr):
    """How many elements of a channel tile t holds."""
    inner_blocks = tl.cdiv(inner, BI)
    return tl.minimum(outer - (t // inner_blocks) * BO, BO) * tl.minimum(inner - (t % inner_blocks) * BI, BI)


@triton.jit
def over_tiles(partial, t, tiles, c, channels):
    """A block of partial [T, C] in float64, zero outside."""
    known = (t < tiles)[:, None] & (c < channels)[None, :]
    return tl.load(partial + t.to(tl.int64)[:, None] * channels + c[None, :], known, other=0.0).to(tl.float64)


@triton.jit
def sum_tiles(partial, tiles, c, channels, BT: tl.constexpr, BC: tl.constexpr):
    """Sums of partial [T, C] over T for the channels c [BC], float64."""
    total = tl.zeros([BT, BC], tl.float64)
    for first in range(0, tiles, BT):
        total += over_tiles(partial, first + tl.arange(0, BT), tiles, c, channels)
    return tl.sum(total, axis=0)


@triton.jit
def merge_moments(
    means, squares, outer, inner, tiles, count, eps, c, channels, BO: tl.constexpr, BI: tl.constexpr, BT: tl.constexpr
):
    """mean and 1 / sqrt(variance + eps) of the channels c, float64, from each tile's mean and sum of squared distances
    from it (both [T, C]); how far that mean is from the mean of all is added. count: elements of a channel."""
    BC: tl.constexpr = c.shape[0]
    total = tl.zeros([BT, BC], tl.float64)
    for first in range(0, tiles, BT):
        t = first + tl.arange(0, BT)
        weight = elements_of(t, outer, inner, BO, BI).to(tl.float64)
        total += weight[:, None] * over_tiles(means, t, tiles, c, channels)
    centre = tl.sum(total, axis=0) / count.to(tl.float64)
    total = tl.zeros([BT, BC], tl.float64)
    for first in range(0, tiles, BT):
        t = first + tl.arange(0, BT)
        weight = tl.where(t < tiles, elements_of(t, outer, inner, BO, BI), 0).to(tl.float64)
        distance = over_tiles(means, t, tiles, c, channels) - centre[None, :]
        total += over_tiles(squares, t, tiles, c, channels) + weight[:, None] * distance * distance
    variance = tl.sum(total, axis=0) / count.to(tl.float64)
    return centre, 1.0 / tl.sqrt(tl.where(variance < 0.0, 0.0, variance) + tl.full([BC], eps, tl.float64))


@triton.jit
def store_moments(partial, x, known, count, t, tiles, c, channels):
    """Leaves the mean of a tile x [BP, BC], and the sum of the squared distances from it, in partial [2, T, C]. A
    second look at the tile corrects the rounding of the mean, which would count where it is large beside the
    deviation; partial is float64 for the same reason."""
    count = count.to(tl.float64)
    mean = tl.sum(tl.where(known[:, None], x, 0.0), axis=0) / count.to(x.dtype)
    d = tl.where(known[:, None], x - mean[None, :], 0.0)
    rest = tl.sum(d, axis=0).to(tl.float64)
    squares = tl.sum(d * d, axis=0).to(tl.float64) - rest * rest / count
    found = partial + t.to(tl.int64) * channels + c
    tl.store(found, mean.to(tl.float64) + rest / count, c < channels)
    tl.store(found + tiles.to(tl.int64) * channels, squares, c < channels)


@triton.jit(do_not_specialize=["pixels", "tiles"])
def _finish_moments(
    mean, rstd, partial, pixels, channels, tiles, eps: tl.float64, BP: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr
):
    """Program (channels, row): see moments."""
    row = tl.program_id(1)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    means = partial + row.to(tl.int64) * 2 * tiles * channels
    squares = means + tiles.to(tl.int64) * channels
    centre, scale = merge_moments(means, squares, pixels, 1, tiles, pixels, eps, c, channels, BP, 1, BT)
    tl.store(mean + row * channels + c, centre.to(mean.dtype.element_ty), c < channels)
    tl.store(rstd + row * channels + c, scale.to(mean.dtype.element_ty), c < channels)


@triton.jit(do_not_specialize=["tiles"])
def _finish_totals(totals, partial, channels, tiles, BT: tl.constexpr, BC: tl.constexpr):
    """Program (channels, row): see totals."""
    row = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    found = sum_tiles(partial + row * tiles * channels, tiles, c, channels, BT, BC)
    tl.store(totals + row * channels + c, found.to(totals.dtype.element_ty), c < channels)


def moments(partial: Tensor, pixels: int, tile: int, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """mean and rstd [R, C] of rows of `pixels` values a channel, from what `store_moments` left of tiles of `tile`
    values: partial float64 [R, 2, T, C]."""
    rows, _, tiles, channels = partial.shape
    mean, rstd = (partial.new_empty((rows, channels), dtype=dtype) for _ in range(2))
    blocks = final_blocks(tiles, channels)
    grid = (triton.cdiv(channels, blocks["BC"]), rows)
    launch(
        _finish_moments,
        grid,
        warps=8,
        mean=mean,
        rstd=rstd,
        partial=partial,
        pixels=pixels,
        channels=channels,
        tiles=tiles,
        eps=eps,
        BP=tile,
        **blocks,
    )
    return mean, rstd


def totals(partial: Tensor) -> Tensor:
    """Sums of partial [R, T, C] over the tiles, [R, C]."""
    rows, tiles, channels = partial.shape
    found = partial.new_empty((rows, channels))
    blocks = final_blocks(tiles, channels)
    grid = (triton.cdiv(channels, blocks["BC"]), rows)
    launch(_finish_totals, grid, warps=8, totals=found, partial=partial, channels=channels, tiles=tiles, **blocks)
    return found


def final_blocks(tiles: int, channels: int) -> dict[str, int]:
    """Tiles and channels that a program of the second step takes at a time."""
    BC = min(triton.next_power_of_2(channels), 64)
    return {"BT": min(triton.next_power_of_2(tiles), 4096 // BC), "BC": BC}
