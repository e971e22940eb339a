"""Batch statistics of the last dimension: what batch normalisation needs of a tensor [..., C]."""

import torch
from torch import Tensor

from ddarts_kernels.layout import accumulation_dtype


def statistics(x: Tensor, eps: float, groups: int) -> tuple[Tensor, Tensor]:
    """mean and rstd = 1 / sqrt(biased variance + eps) [G, E, C] of x [E, N, ..., C], for each of the G groups of
    consecutive images."""
    apart = x.to(accumulation_dtype(x.dtype)).unflatten(1, (groups, x.shape[1] // groups)).transpose(0, 1)
    wide = apart.flatten(2, -2)
    count = max(1, wide.shape[2])
    mean = wide.sum(2) / count
    variance = (wide - mean.unsqueeze(2)).square().sum(2) / count
    return mean, (variance + eps).rsqrt()


def normalized(x: Tensor, mean: Tensor | None, rstd: Tensor | None) -> Tensor:
    """BN of x [X, ..., C] by mean and rstd [X, C], or x itself where there are none."""
    if mean is None or rstd is None:
        return x
    shape = (len(mean), *[1] * (x.dim() - 2), mean.shape[1])
    return (x - mean.view(shape)) * rstd.view(shape)


def like(x: Tensor, reference: Tensor) -> Tensor:
    """`x` contiguous, in the dtype of `reference`."""
    return torch.empty(x.shape, dtype=reference.dtype, device=x.device).copy_(x)
