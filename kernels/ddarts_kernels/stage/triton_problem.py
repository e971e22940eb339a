"""What one call of stage's Triton kernels is about: dense tensors, sizes, and how they are cut into tiles.

Legend: see reference.py; P pixels of a group of an output, T tiles of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import triton
from torch import Tensor

from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.triton_pixels import WIDE_FROM

_SMALLEST = 16  # side of a block that tl.dot takes
_WIDEST = {"BC": 16, "BO": 64}  # channels of a block that are read, and written
_PIXELS, _TILE = 64, 8192  # at most, of a tile that is written: pixels, bytes
_PROGRAMS = 512  # enough for a GPU of some 130 processors


@dataclass(frozen=True)
class Problem:
    """The operands that both directions share, dense."""

    x: Tensor
    depthwise: Sequence[Tensor]
    pointwise: Sequence[Tensor]
    dilation: Sequence[int]
    stride: int
    mean: Tensor | None
    rstd: Tensor | None
    groups: int

    @classmethod
    def of(cls, x, depthwise, pointwise, dilation, stride, mean, rstd, groups=1) -> "Problem":
        """From the operator's arguments of any strides."""
        depthwise, pointwise = ([w.contiguous() for w in group] for group in (depthwise, pointwise))
        mean, rstd = (None if v is None else v.contiguous() for v in (mean, rstd))
        return cls(x.contiguous(), depthwise, pointwise, dilation, stride, mean, rstd, groups)

    @property
    def kinds(self) -> int:
        """S."""
        return len(self.depthwise)

    @property
    def edges(self) -> int:
        """E."""
        return len(self.depthwise[0])

    @property
    def channels(self) -> int:
        """C."""
        return self.x.shape[4]

    @property
    def wide(self) -> torch.dtype:
        """The type of sums."""
        return accumulation_dtype(self.x.dtype)

    @cached_property
    def out(self) -> tuple[int, int, int]:
        """Images of a group, h, w."""
        _, images, height, width, _ = self.x.shape
        return images // self.groups, (height - 1) // self.stride + 1, (width - 1) // self.stride + 1

    @property
    def pixels(self) -> int:
        """P, of a group."""
        return math.prod(self.out)

    @property
    def precision(self) -> str:
        """How tl.dot multiplies (see triton_impl.py)."""
        half = self.pointwise[0].dtype in (torch.float16, torch.bfloat16)
        return "tf32" if half or torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"

    @cached_property
    def blocks(self) -> dict[str, int]:
        """Pixels of a tile, and channels read and written at a time."""
        side = max(_SMALLEST, triton.next_power_of_2(self.channels))
        channels = {name: min(side, most) for name, most in _WIDEST.items()}
        return {"BP": max(_SMALLEST, min(_PIXELS, _TILE // (channels["BO"] * self.wide.itemsize))), **channels}

    @property
    def tiles(self) -> int:
        """T, of a group."""
        return triton.cdiv(self.pixels, self.blocks["BP"])

    def per(self, name: str) -> int:
        """How many blocks `name` (BC or BO) make all channels."""
        return triton.cdiv(self.channels, self.blocks[name])

    def chunk(self) -> int:
        """Tiles that one program sums over for the gradients of the weights."""
        return triton.cdiv(self.tiles, max(1, _PROGRAMS // (self.edges * self.per("BC") * self.per("BO"))))

    def reading(self, *names: str) -> dict[str, Any]:
        """Arguments of every kernel that reads x, with the blocks `names`."""
        inputs, _, height, width, channels = self.x.shape
        images, out_height, out_width = self.out
        return {
            "x": self.x,
            "mean": self.mean,
            "rstd": self.rstd,
            "images": images,
            "height": height,
            "width": width,
            "out_height": out_height,
            "out_width": out_width,
            "channels": channels,
            "STRIDE": self.stride,
            "INPUTS": inputs,
            "GROUPS": self.groups,
            **self.tiled(*names),
        }

    def tiled(self, *names: str) -> dict[str, Any]:
        """Blocks by name, with BP, whether offsets within an input or an output need 64 bits, and all registers."""
        wide = self.x[0].numel() + self.blocks["BP"] * self.channels >= WIDE_FROM
        return {**{name: self.blocks[name] for name in ("BP", *names)}, "WIDE_INDEX": wide, "registers": 255}
