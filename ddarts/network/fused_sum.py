"""A node's sum with the BN of what it sums, differentiable, in one pass. Legend: N images, h, w pixels, C channels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from ddarts_kernels.layout import accumulation_dtype
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddarts.ops.staging import run


class Affine(NamedTuple):
    """What BN does with a tensor: (y - mean)·scale + bias, each [C]."""

    mean: Tensor
    scale: Tensor
    bias: Tensor


class Term(NamedTuple):
    """What a node sums: a tensor [N, C, h, w] as it is, or what its BN makes of it.

    The gradient that the tensor gets is that of the term: BN's backward pass is the business of who made the tensor.
    """

    y: Tensor
    norm: Affine | None = None


def node_sum(terms: Sequence[Term]) -> Tensor:
    """The sum of the terms, [N, C, h, w] in channels-last order."""
    return _Sum.apply([term.norm for term in terms], *(term.y for term in terms))


class _Sum(torch.autograd.Function):
    """(BN of each input, inputs) → their sum."""

    @staticmethod
    def forward(ctx: Any, norms: Sequence[Affine | None], *inputs: Tensor) -> Tensor:
        first = inputs[0]
        ones = first.new_ones(first.shape[1], dtype=accumulation_dtype(first.dtype))
        zeros = torch.zeros_like(ones)
        rows = (norm or Affine(zeros, ones, zeros) for norm in norms)
        mean, scale, bias = (torch.stack(values) for values in zip(*rows, strict=True))
        out = run("node_sum", first.device, list(inputs), first.new_ones(1, len(inputs)), mean[None], scale[None])
        return out.add_(bias.sum(0)[:, None, None]) if any(norms) else out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad.contiguous(memory_format=torch.channels_last)  # once, instead of by everyone that reads it
        return None, *(grad if need else None for need in ctx.needs_input_grad[1:])
