"""mixed_sum in Triton: reference.py says what is computed, this file which kernels are launched.

Nothing waits for the device and nothing is copied from the host, so both functions can be part of a CUDA graph. Sums
are formed in float32 within a tile and in float64 over tiles, always in the same order: same bits each time.

Legend: U inputs, C channels, n terms, T tiles of a channel (triton_tiles.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from ddarts_kernels.layout import accumulation_dtype, layout_of
from ddarts_kernels.mixed_sum import reference
from ddarts_kernels.mixed_sum.reference import Norm
from ddarts_kernels.mixed_sum.triton_backward import finish_gradients, input_gradients, sum_products
from ddarts_kernels.mixed_sum.triton_forward import finish_statistics, group_sums, tile_statistics, weighted_sum
from ddarts_kernels.mixed_sum.triton_plan import known_plan, plan
from ddarts_kernels.mixed_sum.triton_tiles import Tiling, tiling_of
from ddarts_kernels.triton_launch import Launch, launch, listed
from ddarts_kernels.triton_reduce import final_blocks, totals
from ddarts_kernels.triton_table import aligned, device_table
from ddarts_kernels.triton_values import TYPES

_GROUP = 8  # inputs whose gradients one program writes: more to do at once, for reading grad once in eight


def forward(
    inputs: Sequence[Tensor],
    weights: Tensor,
    source: Sequence[int],
    norm: Sequence[int],
    mean: Tensor | None,
    rstd: Tensor | None,
    keep: Tensor | None,
    logits: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See reference.forward. Five launches or fewer."""
    first = inputs[0]
    if first.numel() == 0:
        return reference.forward(inputs, weights, source, norm, mean, rstd, keep, logits, eps)
    with torch.cuda.device_of(first):
        layout, wide = layout_of(first), accumulation_dtype(first.dtype)
        dense = [x.contiguous(memory_format=layout) for x in inputs]
        weights, keep, mean, rstd = _contiguous(weights, keep, mean, rstd)
        tiling = tiling_of(first, layout, by_channel=any(norm))
        addresses = [x.data_ptr() for x in dense]
        table, totals, length = plan(addresses, [0] * len(inputs), weights, source, norm, keep, logits, wide)
        common: dict[str, Any] = {"table": table, "length": length, "ALIGNED": aligned(addresses)}
        computed = (totals.new_empty(0), totals.new_empty(0))
        if mean is None and Norm.BATCH in norm:
            mean, rstd = computed = _statistics(first, len(inputs), tiling, totals.dtype, eps, common)
        out = torch.empty_like(first, memory_format=layout)
        launch(
            weighted_sum,
            (tiling.programs,),
            out=out,
            totals=totals,
            **_normalization(norm, mean, rstd),
            UNROLL=tiling.unroll,
            **common,
            **tiling.sides,
        )
    return out, *computed


def _statistics(
    first: Tensor, inputs: int, tiling: Tiling, wide: torch.dtype, eps: float, common: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """mean and rstd of this batch, [U, C]."""
    channels, tiles, sides = tiling.channels, tiling.tiles, tiling.sides
    mean = first.new_empty((inputs, channels), dtype=wide)
    rstd = torch.empty_like(mean)
    partial = first.new_empty((inputs, 2, tiles, channels), dtype=wide)
    launch(
        tile_statistics,
        (tiling.programs, inputs),
        partial=partial,
        tiles=tiles,
        STORED=TYPES[first.dtype],
        **common,
        **sides,
    )
    blocks = final_blocks(tiling.tiles, tiling.channels)
    launch(
        finish_statistics,
        (triton.cdiv(channels, blocks["BC"]), inputs),
        mean=mean,
        rstd=rstd,
        partial=partial,
        table=common["table"],
        length=common["length"],
        tiles=tiles,
        count=first.numel() // channels,
        eps=eps,
        warps=8,
        **{name: sides[name] for name in ("outer", "channels", "inner", "BO", "BI")},
        **blocks,
    )
    return mean, rstd


def backward(
    grad: Tensor,
    inputs: Sequence[Tensor],
    weights: Tensor,
    source: Sequence[int],
    norm: Sequence[int],
    mean: Tensor | None,
    rstd: Tensor | None,
    keep: Tensor | None,
    logits: bool,
    wanted: Sequence[int],
    need_weights: bool,
) -> tuple[list[Tensor], Tensor]:
    """See reference.backward. Six launches or fewer; what is not wanted is not computed, nor read for it."""
    if grad.numel() == 0:
        return reference.backward(grad, inputs, weights, source, norm, mean, rstd, keep, logits, wanted, need_weights)
    with torch.cuda.device_of(grad):
        layout = layout_of(inputs[0])
        grad = grad.contiguous(memory_format=layout)
        weights, keep, mean, rstd = _contiguous(weights, keep, mean, rstd)
        through = {u for u in wanted if norm[u] == Norm.BATCH}
        read = set(range(len(inputs))) if need_weights else through
        dense = {u: inputs[u].contiguous(memory_format=layout) for u in read}
        addresses = [dense[u].data_ptr() if u in read else 0 for u in range(len(inputs))]
        grad_inputs = [torch.empty_like(grad, memory_format=layout) for _ in wanted]
        targets = [0] * len(inputs)
        for u, x in zip(wanted, grad_inputs, strict=True):
            targets[u] = x.data_ptr()
        wide = accumulation_dtype(grad.dtype)
        table, totals, length = plan(
            addresses, targets, weights, source, norm, keep, logits, wide, sum_all=need_weights
        )
        tiling = tiling_of(grad, layout, by_channel=any(norm))
        common: dict[str, Any] = {
            "grad": grad,
            "table": table,
            "length": length,
            "inputs": len(inputs),
            "ALIGNED": aligned([*addresses, *targets, grad.data_ptr()]),
            **_normalization(norm, mean, rstd),
            **tiling.sides,
        }
        sums, grad_weights = None, weights.new_empty(len(source) if need_weights else 0)
        if read:
            sums = _sums(tiling, totals, common, weights, keep, grad_weights if need_weights else None, logits)
        if wanted:
            count = grad.numel() // tiling.channels
            sums = sums if through else None
            grid = (tiling.programs, triton.cdiv(len(inputs), _GROUP))
            launch(input_gradients, grid, totals=totals, sums=sums, count=count, GROUP=_GROUP, **common)
    return grad_inputs, grad_weights


def _sums(
    tiling: Tiling,
    totals: Tensor,
    common: dict[str, Any],
    weights: Tensor,
    keep: Tensor | None,
    grad_weights: Tensor | None,
    logits: bool,
) -> Tensor:
    """Sums over each channel of grad z[u], and of grad in the last row, [U + 1, C]; fills grad_weights."""
    inputs, channels, tiles = common["inputs"], tiling.channels, tiling.tiles
    partial = totals.new_empty((inputs + 1, tiles, channels))
    sides = {"tiles": tiles, "HALVES": False, "UNROLL": tiling.unroll}
    launch(sum_products, (tiling.programs,), partial=partial, **sides, **common)
    sums = totals.new_empty((inputs + 1, channels))
    launch(
        finish_gradients,
        (inputs + 1,),
        sums=sums,
        grad_weights=grad_weights,
        partial=partial,
        table=common["table"],
        weights=weights,
        keep=keep,
        inputs=inputs,
        terms=weights.numel(),
        length=common["length"],
        channels=channels,
        tiles=tiles,
        LOGITS=logits,
        NB=32,
        warps=8,
        **final_blocks(tiling.tiles, tiling.channels),
    )
    return sums


def node_sum(inputs: Sequence[Tensor], weights: Tensor, mean: Tensor | None, rstd: Tensor | None) -> Tensor:
    """See reference.node_sum. Two launches, and one more for every 256 tensors that a group of networks reads."""
    groups, terms = weights.shape
    first = inputs[0]
    images = sum(x.shape[0] for x in inputs[::terms]) // groups
    if images * first[:1].numel() == 0:
        return reference.node_sum(inputs, weights, mean, rstd)
    with torch.cuda.device_of(first):
        layout = layout_of(first)
        dense = [x.contiguous(memory_format=layout) for x in inputs]
        weights, mean, rstd = _contiguous(weights, mean, rstd)
        shape = first[:1].expand(images * groups, *first.shape[1:])
        out = torch.empty_like(shape, memory_format=layout, dtype=weights.dtype)
        size = images * first[0].numel()
        addresses = [
            _address(x, weights.dtype) + group * size * x.element_size()
            for at in range(0, len(dense), terms)
            for group in range(dense[at].shape[0] // images)
            for x in dense[at : at + terms]
        ]
        tiling = tiling_of(out[:images], layout, by_channel=True)
        launch(
            group_sums,
            (tiling.programs, groups),
            out=out,
            table=device_table(addresses, len(addresses), first.device),
            weights=weights,
            mean=mean,
            rstd=rstd,
            terms=terms,
            WIDE=TYPES[accumulation_dtype(weights.dtype)],
            **_reading([*addresses, out.data_ptr()]),
            UNROLL=tiling.unroll,
            **tiling.sides,
        )
    return out


def sums(
    grad: Tensor, inputs: Sequence[Tensor], norm: Sequence[int], mean: Tensor | None, rstd: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See reference.sums. Four launches."""
    if grad.numel() == 0:
        return reference.sums(grad, inputs, norm, mean, rstd)
    with torch.cuda.device_of(grad):
        layout = layout_of(inputs[0])
        grad = grad.contiguous(memory_format=layout)
        dense = [x.contiguous(memory_format=layout) for x in inputs]
        mean, rstd = _contiguous(mean, rstd)
        addresses = [_address(x, grad.dtype) for x in dense]
        table, length = known_plan(addresses, norm, grad.device)
        tiling = tiling_of(grad, layout, by_channel=True)
        partial = grad.new_empty((len(inputs) + 1, tiling.tiles, tiling.channels), dtype=accumulation_dtype(grad.dtype))
        launch(
            sum_products,
            (tiling.programs,),
            partial=partial,
            grad=grad,
            table=table,
            inputs=len(inputs),
            length=length,
            tiles=tiling.tiles,
            UNROLL=tiling.unroll,
            **_reading([*addresses, grad.data_ptr()]),
            **_normalization(norm, mean, rstd),
            **tiling.sides,
        )
        dots, own = totals(partial[:-1]), totals(partial[-1:])
    return own[0], dots


def _address(x: Tensor, dtype: torch.dtype) -> int:
    """For the table: odd where `x` is stored in half precision beside `dtype`."""
    return x.data_ptr() + (x.dtype != dtype)


def _reading(addresses: Sequence[int]) -> dict[str, bool]:
    """What load_input is told of the addresses of the table, and those that are read or written with them."""
    return {"ALIGNED": aligned([at - at % 2 for at in addresses]), "HALVES": any(at % 2 for at in addresses)}


def _contiguous(*tensors: Any) -> list[Any]:
    return [None if x is None else x.contiguous() for x in tensors]


def _normalization(norm: Sequence[int], mean: Tensor | None, rstd: Tensor | None) -> dict[str, Any]:
    """The statistics for kernels that must not see any where no input has a norm."""
    return {"mean": mean, "rstd": rstd} if any(norm) else {"mean": None, "rstd": None}


def ahead_of_time() -> Iterator[tuple[str, Launch]]:
    """Every launch of representative calls, by a name for the call: nodes of the supernet, in both directions."""
    large, small = (96, 16, 32, 32), (96, 64, 8, 8)
    for dtype in (torch.float32, torch.bfloat16):
        yield from _launches(dtype, large, torch.channels_last, 35, Norm.BATCH)
        yield from _launches(dtype, small, torch.channels_last, 14, Norm.BATCH)
        yield from _launches(dtype, large, torch.contiguous_format, 35, Norm.BATCH)
        yield from _launches(dtype, large, torch.channels_last, 14, Norm.FIXED)
        yield from _launches(dtype, large, torch.channels_last, 14, Norm.NONE)


def _launches(
    dtype: torch.dtype, shape: tuple[int, ...], layout: torch.memory_format, inputs: int, norm: Norm
) -> list[tuple[str, Launch]]:
    x = [torch.empty(shape, dtype=dtype, memory_format=layout) for _ in range(inputs)]
    weights, keep, every = torch.empty(inputs), torch.empty(inputs, dtype=torch.bool), list(range(inputs))
    mean = None if norm == Norm.NONE else torch.empty(inputs, shape[1])
    given = mean if norm == Norm.FIXED else None
    with listed() as launches:
        forward(x, weights, every, [norm] * inputs, given, given, keep, True, 1e-5)
        backward(x[0], x, weights, every, [norm] * inputs, mean, mean, keep, True, every, True)
        both = None if mean is None else torch.stack([mean, mean])
        for read in [x] if dtype != torch.float32 else [x, [x[0], *(v.half() for v in x[1:])]]:
            sums(x[0], read, [norm] * inputs, mean, mean)
            node_sum([*read, *read], torch.empty(2, inputs, dtype=dtype), both, both)
    order = "NHWC" if layout == torch.channels_last else "NCHW"
    name = f"{str(dtype)[6:]} {inputs} x {list(shape)} {order} {norm.name}"
    return [(name, found) for found in launches]
