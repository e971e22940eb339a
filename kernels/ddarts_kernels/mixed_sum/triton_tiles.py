"""How mixed_sum's Triton kernels see tensors: (outer, C, inner), cut into tiles, one tile to a program.

Legend: C channels, U inputs, L length of a row of the table, T tiles that a channel is cut into. A tile is
[BO, BC, BI] elements of (outer, C, inner). Channels first: (N, C, H W); channels last: (N H W, C, 1); without batch
normalisation channels do not matter: (1, 1, all).

The table (triton_plan.py) holds rows of L integers; those that a kernel reads are found with `row`.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ddarts_kernels.triton_table import pointer
from ddarts_kernels.triton_values import widen

# Rows of the table. Given: addresses of the inputs (one more where an input is stored in half precision beside float32)
# and of their gradients (0: not read, not wanted), the input that each term weighs, how each input is normalised. Found
# on the device: the same where a kept term reads the input, else DEAD; the inputs to sum over, in order; how many those
# are.
ADDRESS = tl.constexpr(0)
TARGET = tl.constexpr(1)
SOURCE = tl.constexpr(2)
NORM = tl.constexpr(3)
KIND = tl.constexpr(4)
ORDER = tl.constexpr(5)
COUNT = tl.constexpr(6)
ROWS = 7

DEAD = tl.constexpr(-1)
NONE = tl.constexpr(0)
BATCH = tl.constexpr(1)

# A program keeps up to 8 KiB of loads under way, to hide memory's latency: of one input, or, where such tiles would be
# too few for a GPU of some 130 processors, of several inputs at once.
_IN_FLIGHT, _SMALLEST_TILE = 8192, 2048
_PROGRAMS = 512
_CHANNELS = 128
_WIDE_FROM = 2**31  # elements that 32-bit offsets no longer reach


class Tiling(NamedTuple):
    """The sides of (outer, C, inner) and of a tile; `unroll` inputs are read at once."""

    outer: int
    channels: int
    inner: int
    BO: int
    BC: int
    BI: int
    unroll: int

    @property
    def tiles(self) -> int:
        """T."""
        return triton.cdiv(self.outer, self.BO) * triton.cdiv(self.inner, self.BI)

    @property
    def programs(self) -> int:
        """Tiles of the whole tensor."""
        return self.tiles * triton.cdiv(self.channels, self.BC)

    @property
    def sides(self) -> dict[str, Any]:
        """What `tile` is told."""
        sides: dict[str, Any] = self._asdict()
        del sides["unroll"]
        wide = self.outer * self.channels * self.inner + self.BO * self.BC * self.BI >= _WIDE_FROM
        return {**sides, "WIDE_INDEX": wide}


def tiling_of(first: Tensor, layout: torch.memory_format, by_channel: bool) -> Tiling:
    """Tiles for tensors like `first` (not empty) that are dense in `layout`."""
    channels, inner = (first.shape[1], first.shape[2:].numel()) if by_channel else (1, first.numel())
    if by_channel and layout == torch.channels_last:
        inner = 1
    outer = first.numel() // (channels * inner)
    share = max(_SMALLEST_TILE, min(_IN_FLIGHT, first.numel() * first.element_size() // _PROGRAMS))
    tile_bytes = 1 << (share.bit_length() - 1)
    elements = tile_bytes // first.element_size()
    BI = min(triton.next_power_of_2(inner), elements)
    BC = min(triton.next_power_of_2(channels), _CHANNELS, elements) if inner == 1 else 1
    BO = min(triton.next_power_of_2(outer), elements // (BC * BI))
    return Tiling(outer, channels, inner, BO, BC, BI, _IN_FLIGHT // tile_bytes)


@triton.jit
def tile(
    outer,
    channels,
    inner,
    BO: tl.constexpr,
    BC: tl.constexpr,
    BI: tl.constexpr,
    WIDE_INDEX: tl.constexpr,
):
    """This program's tile: (offsets of its elements, which of them exist, its channels [BC], its number among T)."""
    channel_blocks = tl.cdiv(channels, BC)
    inner_blocks = tl.cdiv(inner, BI)
    block = tl.program_id(0)
    if WIDE_INDEX:
        block = block.to(tl.int64)
    t = block // channel_blocks
    o = ((t // inner_blocks) * BO + tl.arange(0, BO))[:, None, None]
    c = (block % channel_blocks) * BC + tl.arange(0, BC)
    i = ((t % inner_blocks) * BI + tl.arange(0, BI))[None, None, :]
    offsets = (o * channels + c[None, :, None]) * inner + i
    inside = (o < outer) & (c[None, :, None] < channels) & (i < inner)
    return offsets, inside, c, t


@triton.jit
def over_channel(x):
    """Sums of a tile over all but the channels, [BC]."""
    return tl.sum(tl.sum(x, axis=2), axis=0)


@triton.jit
def row(table, length, NAME: tl.constexpr):
    """Where a row of the table begins."""
    return table + NAME * length


@triton.jit
def load_input(
    table,
    length,
    u,
    offsets,
    inside,
    STORED: tl.constexpr,
    WIDE: tl.constexpr,
    ALIGNED: tl.constexpr,
    HALVES: tl.constexpr = False,
):
    """The elements of input u at `offsets`, zero outside. HALVES: inputs may be stored in half precision; one of two
    loads then reads nothing, which leaves several inputs under way, as a branch would not."""
    address = tl.load(row(table, length, ADDRESS) + u)
    if HALVES:
        half = address % 2 == 1
        address -= address % 2
        narrow = tl.load(pointer(address, tl.float16, ALIGNED) + offsets, inside & half, other=0.0)
        full = tl.load(pointer(address, STORED, ALIGNED) + offsets, inside & (half == 0), other=0.0)
        x = tl.where(half, widen(narrow, WIDE), widen(full, WIDE))
    else:
        x = widen(tl.load(pointer(address, STORED, ALIGNED) + offsets, inside, other=0.0), WIDE)
    return x


@triton.jit
def normalized(x, mean, rstd, u, c, channels, kind):
    """A tile of input u as its norm asks for. mean and rstd [U, C]: None where no input has a norm; rows of inputs
    without one are not read."""
    z = x
    if mean is not None:
        known = (c < channels) & (kind != NONE)
        m = tl.load(mean + u * channels + c, known, other=0.0)
        r = tl.load(rstd + u * channels + c, known, other=1.0)
        z = (x - m[None, :, None]) * r[None, :, None]
    return z
