"""What every operation is made of, as torch modules.

Attribute names (`op`, `conv_1`, `conv_2`, `bn`) are the published ones, so that state dictionaries carry over.
Shapes: N batch, C channels, H, W pixels, s stride; every operation maps [N, C, H, W] to [N, C, ⌈H/s⌉, ⌈W/s⌉].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddarts.space.primitives import OPERATIONS


class ReLUConvBN(nn.Module):
    """ReLU, 1x1 convolution, batch normalisation: brings a cell's input to the cell's width."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        self.op = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out, affine=affine),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class FactorizedReduce(nn.Module):
    """Halves H and W without losing pixels: two stride-2 1x1 convolutions, the second shifted by one pixel."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool) -> None:
        super().__init__()
        if channels_out % 2:
            raise ValueError(f"a factorized reduction needs an even number of channels, not {channels_out}")
        self.conv_1 = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        shifted = x[:, :, 1:, 1:]
        odd = (x.shape[3] % 2, x.shape[2] % 2)
        if any(odd):  # the shifted half reads a row or column of zeros, so that both halves agree in shape
            shifted = F.pad(shifted, (0, odd[0], 0, odd[1]))
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(shifted)], dim=1))


class Branch(nn.Module):
    """A sequence of layers under the published name `op`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def _depthwise(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    """ReLU, depthwise convolution, pointwise convolution, BN; padding keeps H and W at stride 1."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def _pool(kind: str, channels: int, stride: int, pool_norm: bool) -> nn.Module:
    if kind == "max":
        pool: nn.Module = nn.MaxPool2d(3, stride, padding=1)
    else:
        pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False)) if pool_norm else pool


def _rectangular(channels: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    """ReLU, 1xK with stride (1, s), Kx1 with stride (s, 1), BN."""
    half = kernel // 2
    return Branch(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, half), bias=False),
        nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (half, 0), bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def _bottleneck(channels: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    """ReLU, 1x1, KxK with stride, 1x1 to 4C, 1x1 to C, each with BN (the published 5x5 pads by 1; it must be 2)."""
    wide = 4 * channels
    return Branch(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
        nn.Conv2d(channels, channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.BatchNorm2d(wide, affine=affine),
        nn.ReLU(),
        nn.Conv2d(wide, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def make_op(name: str, channels: int, stride: int, *, affine: bool, pool_norm: bool) -> nn.Module:
    """The operation `name` at `channels` channels.

    affine: whether batch normalisation has weights (derived networks) or not (search networks).
    pool_norm: whether a BN follows the pools (search networks only).
    """
    if name not in OPERATIONS:
        raise ValueError(f"unknown operation '{name}': use one of {', '.join(OPERATIONS)}")
    kind, _, size = name.rpartition("_")
    kernel = int(size.split("x")[1]) if "x" in size else 0
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
    if kind in ("max_pool", "avg_pool"):
        return _pool(kind[:3], channels, stride, pool_norm)
    if kind == "sep_conv":
        return Branch(*_depthwise(channels, kernel, stride, 1, affine), *_depthwise(channels, kernel, 1, 1, affine))
    if kind == "dil_conv":
        return Branch(*_depthwise(channels, kernel, stride, 2, affine))
    if kind == "simple_conv":
        return Branch(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )
    if kind == "bottleneck":
        return _bottleneck(channels, kernel, stride, affine)
    return _rectangular(channels, kernel, stride, affine)
