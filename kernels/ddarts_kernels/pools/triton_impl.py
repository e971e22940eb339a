"""pools in Triton: reference.py says what is computed, this file which kernels are launched.

Nothing waits for the device and nothing is copied from the host, so both functions can be part of a CUDA graph. No
atomics: same bits each time. Legend: see reference.py; P pixels of a group of an output, T tiles of them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.pools import reference
from ddarts_kernels.pools.triton_kernels import pool, pool_slopes, unpool
from ddarts_kernels.triton_launch import Launch, launch, listed
from ddarts_kernels.triton_pixels import WIDE_FROM
from ddarts_kernels.triton_reduce import moments
from ddarts_kernels.triton_table import aligned, device_table
from ddarts_kernels.triton_values import TYPES

_TILE, _CHANNELS = 1024, 64


def forward(x: Tensor, stride: int, eps: float, groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See reference.forward. Two launches."""
    if x.numel() == 0:
        return reference.forward(x, stride, eps, groups)
    images, height, width, channels = x.shape
    shape = (images, (height - 1) // stride + 1, (width - 1) // stride + 1, channels)
    with torch.cuda.device_of(x):
        most, average = (x.new_empty(shape) for _ in range(2))
        index = x.new_empty(shape, dtype=torch.uint8)
        blocks, pixels = _blocks(x), most[..., 0].numel() // groups
        tiles = triton.cdiv(pixels, blocks["BP"])
        wide = accumulation_dtype(x.dtype)
        partial = x.new_empty((groups, 2, 2, tiles, channels), dtype=torch.float64)
        launch(
            pool,
            (tiles, triton.cdiv(channels, blocks["BC"]), groups),
            most=most,
            average=average,
            index=index,
            partial=partial,
            x=x.contiguous(),
            images=images // groups,
            WIDE=TYPES[wide],
            **_sizes((height, width), shape, stride),
            **blocks,
        )
        mean, rstd = moments(partial.flatten(0, 1), pixels, blocks["BP"], eps, wide)
    return most, average, index, mean.view(groups, 2, channels), rstd.view(groups, 2, channels)


def backward(
    grads: Sequence[Tensor],
    most: Tensor,
    average: Tensor,
    index: Tensor,
    coefficients: Tensor,
    height: int,
    width: int,
    stride: int,
) -> Tensor:
    """See reference.backward. Three launches."""
    if most.numel() == 0:
        return reference.backward(grads, most, average, index, coefficients, height, width, stride)
    images, _, _, channels = most.shape
    with torch.cuda.device_of(most):
        dx = most.new_empty((images, height, width, channels))
        most, average, index, coefficients = (v.contiguous() for v in (most, average, index, coefficients))
        dense = [g.contiguous() for g in grads]
        addresses = [g.data_ptr() for g in dense]
        slopes = most.new_empty((2, *most.shape), dtype=accumulation_dtype(most.dtype))
        sizes, pixels, blocks = _sizes((height, width), most.shape, stride), most[..., 0].numel(), _blocks(dx)
        columns = triton.cdiv(channels, blocks["BC"])
        launch(
            pool_slopes,
            (triton.cdiv(pixels, blocks["BP"]), columns),
            slopes=slopes,
            table=device_table(addresses, max(1, len(addresses)), most.device),
            most=most,
            average=average,
            coefficients=coefficients,
            pixels=pixels,
            edges=len(dense),
            ALIGNED=aligned(addresses),
            **sizes,
            **blocks,
        )
        grid = (triton.cdiv(images * height * width, blocks["BP"]), columns)
        launch(unpool, grid, dx=dx, slopes=slopes, index=index, images=images, **sizes, **blocks)
    return dx


def _sizes(size: Sequence[int], out: Sequence[int], stride: int) -> dict[str, int]:
    """Arguments of every kernel: H and W, h and w, C, the stride."""
    return {
        "height": size[0],
        "width": size[1],
        "out_height": out[1],
        "out_width": out[2],
        "channels": out[3],
        "STRIDE": stride,
    }


def _blocks(x: Tensor) -> dict[str, Any]:
    """Pixels and channels of a tile, whether offsets within x, the largest tensor, need 64 bits, and all registers."""
    channels = min(triton.next_power_of_2(x.shape[3]), _CHANNELS)
    pixels = _TILE // channels
    return {"BP": pixels, "BC": channels, "WIDE_INDEX": x.numel() + pixels * x.shape[3] >= WIDE_FROM, "registers": 255}


def ahead_of_time() -> Iterator[tuple[str, Launch]]:
    """Every launch of representative calls, by a name for the call: states of the supernet, in both directions."""
    for dtype in (torch.float32, torch.bfloat16):
        for size, stride in (((96, 32, 32, 16), 1), ((96, 32, 32, 32), 2), ((96, 8, 8, 64), 1)):
            x = torch.empty(size, dtype=dtype)
            with listed() as launches:
                most, average, index, mean, _ = forward(x, stride, 1e-5, 1)
                lines = mean.new_empty((2, 6, size[3]))
                backward([most] * 4, most, average, index, lines, size[1], size[2], stride)
            yield from ((f"{str(dtype)[6:]} {list(size)} stride {stride}", found) for found in launches)
