"""Batch normalisation around the stage operators: its backward pass, its running statistics. Legend: C channels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def coefficients(scale: Tensor, mean: Tensor, rstd: Tensor, sums: tuple[Tensor, Tensor] | None, count: int) -> Tensor:
    """BN's backward for ŷ = (y - mean)·rstd as dy = c[0]·g + c[1]·y + c[2], all [..., C] → c [..., 3, C].

    scale: the gradient of ŷ is scale·g. sums: Σ g and Σ g·ŷ over `count` values; None: the statistics are constants.
    """
    a = scale * rstd
    if sums is None:
        zero = torch.zeros_like(a)
        return torch.stack([a, zero, zero], dim=-2)
    b = a * rstd * sums[1] / -count
    return torch.stack([a, b, a * sums[0] / -count - b * mean], dim=-2)


@torch.no_grad()
def move_running(modules: Sequence[nn.BatchNorm2d], mean: Tensor, rstd: Tensor, count: int) -> None:
    """Step the running statistics of M modules with the same settings, if they are tracked, towards those of a batch:
    mean and rstd [M, C] over `count` values. ValueError where a variance of one value is asked for."""
    if count == 1:
        raise ValueError("batch normalisation needs more than 1 value per channel when training: use more images")
    first = modules[0]
    if not first.track_running_stats:
        return
    assert first.momentum is not None  # a cumulative average has a step of its own in every pass
    variance = (rstd.pow(-2) - first.eps).clamp_min(0) * (count / (count - 1))
    for name, rows in (("running_mean", mean), ("running_var", variance)):
        torch._foreach_lerp_([getattr(module, name) for module in modules], list(rows.unbind(0)), first.momentum)
    torch._foreach_add_([n for module in modules if (n := module.num_batches_tracked) is not None], 1)
