"""Inputs of the operator contract: layouts, awkward shapes and views, and the plain sum they are compared with."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# [N, C, H, W]: empty and small batches, channel counts around vector widths, odd sides, and more than one chunk
SHAPES = (
    (0, 3, 5, 7),
    (1, 1, 1, 1),
    (1, 36, 1, 1),
    (2, 3, 0, 4),
    (2, 16, 7, 5),
    (3, 17, 9, 3),
    (2, 36, 17, 15),
    (3, 17, 23, 19),
)


def contiguous(shape: Sequence[int], fill: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """The usual layout."""
    return fill(shape).contiguous()


def channels_last(shape: Sequence[int], fill: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """Dense, channels innermost."""
    return fill(shape).contiguous(memory_format=torch.channels_last)


def offset(shape: Sequence[int], fill: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """Dense, but starting one element into its storage: not aligned."""
    return torch.cat([torch.full_like(fill((1,)), float("nan")), fill(shape).flatten()])[1:].view(*shape)


def strided(shape: Sequence[int], fill: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """Every second column of something wider; the other columns are NaN."""
    n, c, h, w = shape
    wide = torch.full_like(fill((1,)), float("nan")).expand(n, c, h, 2 * w).clone()
    wide[..., ::2] = fill(shape)
    return wide[..., ::2]


def expanded(shape: Sequence[int], fill: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """One row seen many times (stride 0)."""
    n, c, _, w = shape
    return fill((n, c, 1, w)).expand(shape)


def transposed(shape: Sequence[int], fill: Callable[[Sequence[int]], Tensor]) -> Tensor:
    """Height and width swapped in memory: dense, in neither known order."""
    n, c, h, w = shape
    return fill((n, c, w, h)).transpose(2, 3)


LAYOUTS = {f.__name__: f for f in (contiguous, channels_last, offset, strided, expanded, transposed)}


def normal(dtype: torch.dtype, seed: int) -> Callable[[Sequence[int]], Tensor]:
    """Standard normal numbers of a dtype."""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(tuple(shape), generator=generator, dtype=torch.float64).to(dtype)


def integers(dtype: torch.dtype, seed: int) -> Callable[[Sequence[int]], Tensor]:
    """Whole numbers from -3 to 3, whose sums and products are exact in every dtype."""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randint(-3, 4, tuple(shape), generator=generator).to(dtype)


def eager(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The plain sum, in whatever types torch gives it."""
    total = weights[0] * inputs[0]
    for w, x in zip(weights[1:], inputs[1:], strict=True):
        total = total + w * x
    return total


def gradients(
    function: Callable[[Sequence[Tensor], Tensor], Tensor], inputs: Sequence[Tensor], weights: Tensor, grad: Tensor
) -> tuple[Tensor, list[Tensor], Tensor]:
    """(output, gradients of the inputs, gradient of the weights) of `function`, on leaves with the same strides."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    w = weights.detach().clone().requires_grad_()
    out = function(leaves, w)
    found = torch.autograd.grad(out, [*leaves, w], grad.to(out.dtype), allow_unused=True)
    pairs = zip(found, [*leaves, w], strict=True)
    *grad_inputs, grad_weights = (torch.zeros_like(x) if g is None else g for g, x in pairs)
    return out.detach(), grad_inputs, grad_weights
