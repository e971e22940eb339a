"""mixed_sum in plain torch: short, obviously right, any device, float64-capable.

Legend: n inputs x[i] of one shape, w: [n].
    out = sum_i w[i] x[i],   grad_x[i] = w[i] grad,   grad_w[i] = <grad, x[i]>
Additions are in float32, or float64 for float64. A weight of zero is not skipped: 0 * inf is NaN, as in the plain sum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def layout_of(x: Tensor) -> torch.memory_format:
    """channels_last where `x` is dense in that order and not already contiguous, else contiguous."""
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for anything narrower."""
    return torch.promote_types(dtype, torch.float32)


def _scaled(x: Tensor, w: Tensor, wide: torch.dtype, layout: torch.memory_format) -> Tensor:
    """w x in `wide` and `layout`, with the layout's own strides: contiguous() would keep the strides of `x` in
    dimensions of size 1 and in empty tensors, where they are arbitrary."""
    return torch.mul(x.to(wide), w, out=torch.empty_like(x, dtype=wide, memory_format=layout))


def forward(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """sum_i weights[i] inputs[i], in the inputs' dtype and the first input's layout."""
    first = inputs[0]
    wide = accumulation_dtype(first.dtype)
    w = weights.to(wide)
    total = _scaled(first, w[0], wide, layout_of(first))
    for i, x in enumerate(inputs[1:], start=1):
        total += x.to(wide) * w[i]
    return total.to(first.dtype)


def backward(
    grad: Tensor, inputs: Sequence[Tensor], weights: Tensor, need_inputs: bool, need_weights: bool
) -> tuple[list[Tensor], Tensor]:
    """(gradient of every input, gradient of the weights); what is not needed is an empty list or an empty tensor."""
    wide = accumulation_dtype(grad.dtype)
    slope = grad.to(wide)
    layout = layout_of(inputs[0])
    grad_inputs: list[Tensor] = []
    if need_inputs:
        w = weights.to(wide)
        grad_inputs = [_scaled(slope, w[i], wide, layout).to(grad.dtype) for i in range(len(inputs))]
    if not need_weights:
        return grad_inputs, weights.new_empty(0)
    return grad_inputs, torch.stack([(slope * x.to(wide)).sum() for x in inputs]).to(weights.dtype)
