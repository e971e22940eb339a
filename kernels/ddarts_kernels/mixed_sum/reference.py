"""mixed_sum in plain torch: short, obviously right, any device, float64-capable.

Legend: U inputs x[u] of one shape, C channels (dimension 1), n terms; term m weighs input source[m] with w[m].
    out = sum_m w[m] z[source[m]],   z[u] = x[u], or its batch normalisation (x[u] - mean[u]) rstd[u]
What `norm` says of an input: NONE (z = x), BATCH (statistics of this batch, gradients run through them), FIXED (given
statistics, constants). keep[m] = False takes term m out: an input that no kept term reads is as if it were not there,
whatever it holds. A weight of zero is not skipped: 0 * inf is NaN.
Sums are formed in float32, or float64 for float64.
"""

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from ddarts_kernels.layout import accumulation_dtype, layout_of


class Norm(IntEnum):
    """How an input is normalised before it is weighed."""

    NONE = 0
    BATCH = 1
    FIXED = 2


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
    """(the sum, mean, rstd): the sum in the inputs' dtype and the first input's layout; the statistics [U, C] when
    they are computed here (an input is BATCH and none are given), else empty.

    Rows of inputs without BN, and of inputs that no kept term reads, hold mean 0 and rstd 1.
    """
    first = inputs[0]
    wide = accumulation_dtype(first.dtype)
    total, alive = _per_input(_values(weights, logits, wide), source, keep, len(inputs))
    computed = mean is None and Norm.BATCH in norm
    if computed:
        mean, rstd = _statistics(inputs, norm, alive, eps)
    out = torch.zeros_like(first, dtype=wide, memory_format=layout_of(first))
    for u in range(len(inputs)):
        z = _normalized(inputs[u].to(wide), u, norm, mean, rstd)
        out += torch.where(alive[u], total[u] * z, 0)
    if not computed:
        mean, rstd = total.new_empty(0), total.new_empty(0)
    assert mean is not None and rstd is not None
    return _into(layout_of(first), first.dtype, out), mean, rstd


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
    """(gradients of the inputs `wanted`, in that order; gradient of the weights, empty when it is not needed).

    All that BN's backward and the weights' gradient need are two sums for each channel, of grad and of grad z:
        dw[m] = sum grad z,   dx = w rstd (grad - (sum grad + z sum grad z) / count)
    """
    wide = accumulation_dtype(grad.dtype)
    slope = grad.to(wide)
    values = _values(weights, logits, wide)
    total, alive = _per_input(values, source, keep, len(inputs))
    layout = layout_of(inputs[0])

    grad_inputs = [
        _into(layout, grad.dtype, torch.where(alive[u], total[u] * _through(slope, inputs[u], u, norm, mean, rstd), 0))
        for u in wanted
    ]
    if not need_weights:
        return grad_inputs, weights.new_empty(0)
    dots = [(slope * _normalized(x.to(wide), u, norm, mean, rstd)).sum() for u, x in enumerate(inputs)]
    grad_weights = torch.stack([dots[u] for u in source])
    if keep is not None:
        grad_weights = torch.where(keep, grad_weights, 0)
    if logits:
        grad_weights = grad_weights * values * (1 - values)
    return grad_inputs, grad_weights.to(weights.dtype)


def node_sum(inputs: Sequence[Tensor], weights: Tensor, mean: Tensor | None, rstd: Tensor | None) -> Tensor:
    """The same sum for G networks side by side, forward alone: out = sum_u w[g, u] (x[u] - mean[g, u]) rstd[g, u].

    weights [G, U]; mean and rstd [G, U, C], without them nothing is normalised. The inputs are runs of U tensors, the
    first run for the first networks, the next for those that follow: tensors [images, C, ...] of one run hold the
    consecutive images of some of the groups, as many of each group; where weights are float32, inputs may be float16.
    Returns all images, those of the runs in order, in the dtype of weights.
    """
    groups, terms = weights.shape
    runs = [inputs[i : i + terms] for i in range(0, len(inputs), terms)]
    images = sum(run[0].shape[0] for run in runs) // groups
    wide = accumulation_dtype(weights.dtype)
    out, group = [], 0
    for run in runs:
        for part in zip(*(x.split(images) if images else [x] for x in run), strict=True):
            total = torch.zeros_like(part[0], dtype=wide)
            for u, x in enumerate(part):
                z = x.to(wide)
                if mean is not None and rstd is not None:
                    z = (z - _channels(mean[group, u], x)) * _channels(rstd[group, u], x)
                total += weights[group, u].to(wide) * z
            out.append(total)
            group += 1
    return _into(layout_of(inputs[0]), weights.dtype, torch.cat(out))


def sums(
    grad: Tensor, inputs: Sequence[Tensor], norm: Sequence[int], mean: Tensor | None, rstd: Tensor | None
) -> tuple[Tensor, Tensor]:
    """All that the gradients of out = sum_u w[u] z[u] need, in one pass: sum grad, [C], and sum grad z[u], [U, C]
    (inputs [N, C, ...], float16 if they like where grad is float32)."""
    slope = grad.to(accumulation_dtype(grad.dtype))
    dots = [_sum(slope * _normalized(x.to(slope.dtype), u, norm, mean, rstd)) for u, x in enumerate(inputs)]
    return _sum(slope), torch.stack(dots)


def _values(weights: Tensor, logits: bool, wide: torch.dtype) -> Tensor:
    values = weights.to(wide)
    return values.sigmoid() if logits else values


def _per_input(values: Tensor, source: Sequence[int], keep: Tensor | None, inputs: int) -> tuple[Tensor, Tensor]:
    """(sum of the kept weights of each input [U], whether a kept term reads it [U])."""
    kept = torch.ones_like(values, dtype=torch.bool) if keep is None else keep
    reads = torch.tensor(source, device=values.device) == torch.arange(inputs, device=values.device)[:, None]
    reads = reads & kept
    return torch.where(reads, values, 0).sum(1), reads.any(1)


def _statistics(inputs: Sequence[Tensor], norm: Sequence[int], alive: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """mean and 1 / sqrt(biased variance + eps) of every channel, [U, C]."""
    first = inputs[0]
    wide = accumulation_dtype(first.dtype)
    mean = torch.zeros(len(inputs), first.shape[1], dtype=wide, device=first.device)
    rstd = torch.ones_like(mean)
    for u, x in enumerate(inputs):
        if norm[u] == Norm.BATCH:
            count = max(1, _count(x))
            centre = _sum(x.to(wide)) / count
            variance = _sum((x.to(wide) - _channels(centre, x)).square()) / count
            mean[u] = torch.where(alive[u], centre, 0)
            rstd[u] = torch.where(alive[u], (variance + eps).rsqrt(), 1)
    return mean, rstd


def _normalized(x: Tensor, u: int, norm: Sequence[int], mean: Tensor | None, rstd: Tensor | None) -> Tensor:
    if norm[u] == Norm.NONE:
        return x
    assert mean is not None and rstd is not None
    return (x - _channels(mean[u], x)) * _channels(rstd[u], x)


def _through(slope: Tensor, x: Tensor, u: int, norm: Sequence[int], mean: Tensor | None, rstd: Tensor | None) -> Tensor:
    """The gradient of <slope, z[u]> in x[u]."""
    if norm[u] == Norm.NONE:
        return slope
    assert rstd is not None
    if norm[u] == Norm.BATCH:
        z = _normalized(x.to(slope.dtype), u, norm, mean, rstd)
        count = max(1, _count(x))
        slope = slope - (_channels(_sum(slope), x) + z * _channels(_sum(slope * z), x)) / count
    return slope * _channels(rstd[u], x)


def _count(x: Tensor) -> int:
    """Elements of one channel."""
    return x.numel() // max(1, x.shape[1])


def _sum(x: Tensor) -> Tensor:
    """Sum over everything but the channels, [C]."""
    return x.transpose(0, 1).flatten(1).sum(1)


def _channels(values: Tensor, x: Tensor) -> Tensor:
    """[C] in a shape that multiplies `x`."""
    return values.view(1, -1, *[1] * (x.dim() - 2))


def _into(layout: torch.memory_format, dtype: torch.dtype, x: Tensor) -> Tensor:
    """`x` in `layout` with its own strides: contiguous() would keep those of `x` in dimensions of size 1 and in empty
    tensors, where they are arbitrary."""
    return torch.empty_like(x, dtype=dtype, memory_format=layout).copy_(x)
