"""stage in Triton: reference.py says what is computed, this file which kernels are launched.

Nothing waits for the device and nothing is copied from the host, so both functions can be part of a CUDA graph. Sums
are formed in the type of sums within a tile and in float64 over tiles, always in the same order: same bits each time.

Products of float32 are those of float32, unless torch is told otherwise (torch.backends.cuda.matmul.fp32_precision =
"tf32"). With weights in half precision tensor cores are used: they are exact in TF32, and what lies between the
convolutions is cut to 11 bits, no coarser than the result is stored.

Legend: see reference.py; P pixels of a group of an output, T tiles of them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from ddarts_kernels.stage.triton_backward import input_gradients, middle_gradients, mix_gradients, tap_gradients
from ddarts_kernels.stage.triton_forward import stage_forward
from ddarts_kernels.stage.triton_problem import Problem
from ddarts_kernels.triton_launch import Launch, launch, listed
from ddarts_kernels.triton_reduce import moments, totals
from ddarts_kernels.triton_table import aligned, device_table
from ddarts_kernels.triton_values import TYPES


def forward(
    x: Tensor,
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    dilation: Sequence[int],
    stride: int,
    mean: Tensor | None,
    rstd: Tensor | None,
    eps: float,
    groups: int,
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """See reference.forward. S + 1 launches."""
    this = Problem.of(x, depthwise, pointwise, dilation, stride, mean, rstd, groups)
    _, height, width = this.out
    size = this.edges, x.shape[1], height, width, this.channels
    y = [x.new_empty(size, dtype=dtype) for _ in depthwise]
    shape = groups, this.kinds, this.edges
    if x.numel() == 0:
        centre = x.new_zeros((*shape, this.channels), dtype=this.wide)
        return y, centre, torch.full_like(centre, eps**-0.5)
    with torch.cuda.device_of(x):
        partial = x.new_empty((*shape, 2, this.tiles, this.channels), dtype=torch.float64)
        for s, kernel in enumerate(this.depthwise):
            launch(
                stage_forward,
                (this.tiles, this.edges * groups, this.per("BO")),
                y=y[s],
                partial=partial[:, s],
                depthwise=kernel,
                pointwise=this.pointwise[s],
                K=kernel.shape[1],
                DILATION=dilation[s],
                KINDS=this.kinds,
                WIDE=TYPES[this.wide],
                PRECISION=this.precision,
                **this.reading("BC", "BO"),
            )
        mean, rstd = moments(partial.flatten(0, 2), this.pixels, this.blocks["BP"], eps, this.wide)
    return y, mean.view(*shape, this.channels), rstd.view(*shape, this.channels)


def backward(
    grads: Sequence[Tensor],
    y: Sequence[Tensor],
    coefficients: Tensor,
    x: Tensor,
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    dilation: Sequence[int],
    stride: int,
    mean: Tensor | None,
    rstd: Tensor | None,
    need_weights: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """See reference.backward. At most four launches; for the weights' gradients two more for each kind, and two."""
    this = Problem.of(x, depthwise, pointwise, dilation, stride, mean, rstd)
    if x.numel() == 0:
        taps, mixes = ([torch.zeros_like(w) for w in group if need_weights] for group in (depthwise, pointwise))
        shape = (0,) if mean is None else (len(x), 2, this.channels)
        return torch.empty_like(this.x, dtype=grads[0].dtype), taps, mixes, x.new_zeros(shape, dtype=this.wide)
    with torch.cuda.device_of(x):
        grads, y = ([v.contiguous() for v in group] for group in (grads, y))
        coefficients = coefficients.contiguous()
        addresses = [v.data_ptr() for group in (grads, y, this.pointwise, this.depthwise) for v in group]
        table, even = device_table(addresses, len(addresses), x.device), aligned(addresses)
        middle = _middle(this, table, even, coefficients, TYPES[grads[0].dtype], TYPES[y[0].dtype])
        taps, mixes = ([], [])
        if need_weights:
            taps, mixes = _weights(this, table, even, y, coefficients, middle, TYPES[grads[0].dtype])
        dz, sums = _input(this, table, even, middle, grads[0].dtype)
    return dz, taps, mixes, sums


def _middle(this: Problem, table: Tensor, even: bool, coefficients: Tensor, slope: Any, output: Any) -> Tensor:
    """The gradients of what lies between the convolutions, [S, E, N, h, w, C]."""
    middle = this.x.new_empty((this.kinds, this.edges, *this.out, this.channels), dtype=this.wide)
    launch(
        middle_gradients,
        (this.tiles, this.kinds * this.edges, this.per("BO")),
        middle=middle,
        table=table,
        coefficients=coefficients,
        pixels=this.pixels,
        channels=this.channels,
        EDGES=this.edges,
        KINDS=this.kinds,
        SLOPE=slope,
        OUTPUT=output,
        WEIGHT=TYPES[this.pointwise[0].dtype],
        ALIGNED=even,
        PRECISION=this.precision,
        **this.tiled("BC", "BO"),
    )
    return middle


def _input(this: Problem, table: Tensor, even: bool, middle: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """dz, and its sums [X, 2, C] where there is BN."""
    dz, inputs = torch.empty_like(this.x, dtype=dtype), len(this.x)
    tiles = triton.cdiv(this.x[0, ..., 0].numel(), this.blocks["BP"])
    partial = None
    if this.mean is not None:
        partial = middle.new_empty((inputs, 2, tiles, this.channels))
    launch(
        input_gradients,
        (tiles, inputs, this.per("BC")),
        dz=dz,
        partial=partial,
        middle=middle,
        table=table,
        KERNELS=tuple(kernel.shape[1] for kernel in this.depthwise),
        DILATIONS=tuple(this.dilation),
        EDGES=this.edges,
        WEIGHT=TYPES[this.depthwise[0].dtype],
        ALIGNED=even,
        **this.reading("BC"),
    )
    if partial is None:
        return dz, middle.new_empty(0)
    return dz, totals(partial.flatten(0, 1)).view(inputs, 2, this.channels)


def _weights(
    this: Problem, table: Tensor, even: bool, y: Sequence[Tensor], coefficients: Tensor, middle: Tensor, slope: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """The gradients of depthwise and pointwise."""
    made = [torch.empty_like(w) for pair in zip(this.depthwise, this.pointwise, strict=True) for w in pair]
    sizes = [w.numel() for w in made]
    columns, chunk = sum(sizes), this.chunk()
    chunks = triton.cdiv(this.tiles, chunk)
    partial = middle.new_empty((1, chunks, columns))
    for s, kernel in enumerate(this.depthwise):
        own = partial[0, 0, sum(sizes[: 2 * s]) :]
        size = {"K": kernel.shape[1], "DILATION": this.dilation[s], "chunk": chunk, "columns": columns}
        launch(
            tap_gradients,
            (chunks, this.edges * kernel.shape[1], this.per("BC")),
            partial=own,
            middle=middle[s],
            KP=triton.next_power_of_2(kernel.shape[1]),
            **size,
            **this.reading("BC"),
        )
        launch(
            mix_gradients,
            (chunks, this.edges, this.per("BC") * this.per("BO")),
            partial=own,
            table=table[s * this.edges :],
            y=y[s],
            coefficients=coefficients[s],
            depthwise=kernel,
            SLOPE=slope,
            ALIGNED=even,
            PRECISION=this.precision,
            **size,
            **this.reading("BC", "BO"),
        )
    found = totals(partial)[0].split(sizes)
    torch._foreach_copy_(made, [v.view(w.shape) for v, w in zip(found, made, strict=True)])
    return made[::2], made[1::2]


def ahead_of_time() -> Iterator[tuple[str, Launch]]:
    """Every launch of representative calls, by a name for the call: both stages of the supernet's cells."""
    first, second, second5 = ((3, 1), (5, 1), (3, 2), (5, 2)), ((3, 1),), ((5, 1),)
    for dtype in (torch.float32, torch.bfloat16):
        for size in ((96, 32, 32, 16), (96, 8, 8, 64)):
            yield from _launches(dtype, size, first, 1, norm=False)
            yield from _launches(dtype, size, second, 1, norm=True)
            yield from _launches(dtype, size, second5, 1, norm=True)
        yield from _launches(dtype, (96, 32, 32, 32), first, 2, norm=False)
        yield from _launches(dtype, (96, 8, 8, 144), second5, 1, norm=True)
    yield from _launches(torch.float64, (8, 8, 8, 16), first, 2, norm=False)
    yield from _launches(torch.float32, (96, 32, 32, 16), first, 1, norm=False, stored=torch.float16)
    yield from _launches(torch.float32, (96, 32, 32, 16), second5, 1, norm=True, stored=torch.float16)
    yield from _launches(torch.float32, (96, 8, 8, 64), second5, 1, norm=True, stored=torch.float16)


def _launches(
    dtype: torch.dtype,
    size: tuple[int, ...],
    kinds: Sequence[tuple[int, int]],
    stride: int,
    *,
    norm: bool,
    stored: torch.dtype | None = None,
) -> list[tuple[str, Launch]]:
    edges, channels, wide = 4, size[3], torch.promote_types(dtype, torch.float32)
    inputs = edges if norm else 1
    x = torch.empty((inputs, *size), dtype=stored if norm and stored else dtype)
    depthwise = [torch.empty((edges, k, k, channels), dtype=dtype) for k, _ in kinds]
    pointwise = [torch.empty((edges, channels, channels), dtype=dtype) for _ in kinds]
    mean = torch.empty((inputs, channels), dtype=wide) if norm else None
    terms = (x, depthwise, pointwise, [d for _, d in kinds], stride, mean, mean)
    coefficients = torch.empty((len(kinds), edges, 3, channels), dtype=wide)
    with listed() as launches:
        y, _, _ = forward(*terms, 1e-5, 1, stored)
        backward([v.to(dtype) for made in y for v in made], y, coefficients, *terms, True)
    names = [str(kind)[6:] for kind in (dtype, stored) if kind is not None]
    name = f"{'/'.join(names)} {list(x.shape)} {'/'.join(str(k) for k, _ in kinds)} stride {stride}"
    return [(name, found) for found in launches]
