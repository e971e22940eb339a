"""FLOPs of the operators for torch.utils.flop_counter: every addition and every multiplication counts one.

Comparisons (ReLU, maximum, thresholds) and what is done once a channel or a weight count nothing; a window at the
border counts as a whole one. FlopCounterMode sees what is called through torch.library: the fused cell calls
implementations past it (`run` in staging.py), so the cells of a network in fused execution are not counted.

Formulas see shapes in place of tensors. Legend: U inputs of `size` numbers each; E edges, N images, H, W pixels (h, w
after the stride), K kernel size, C channels.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from ddarts_kernels.mixed_sum.reference import Norm
from torch.utils.flop_counter import register_flop_formula

from ddarts.ops.staging_checks import pooled

Shape = Sequence[int]
STATISTICS = 4  # a number: an addition for the mean; a subtraction, a multiplication and an addition for the variance
BN = 2  # a number: scale and shift


def mixed_sum(
    inputs: Sequence[Shape], weights: Shape, source: Sequence[int], norm: Sequence[int], mean: Any, *_: Any, **__: Any
) -> int:
    """A multiplication and an addition for every number, and statistics where they are computed."""
    size = math.prod(inputs[0])
    computed = list(norm).count(Norm.BATCH) if mean is None else 0
    return (2 * len(inputs) + STATISTICS * computed) * size


def mixed_sum_backward(
    grad: Shape,
    inputs: Sequence[Shape],
    weights: Shape,
    source: Sequence[int],
    norm: Sequence[int],
    mean: Any,
    rstd: Any,
    keep: Any,
    logits: bool,
    wanted: Sequence[int],
    need_weights: bool,
    **_: Any,
) -> int:
    """The sums of grad and of grad·input; then grad times a number, and where BN's statistics depend on the input two
    additions and a multiplication more."""
    batch = [u for u in wanted if norm[u] == Norm.BATCH]
    summed = len(inputs) if need_weights else len(batch)
    sums = 2 * summed + bool(summed)
    return (sums + len(wanted) + 3 * len(batch)) * math.prod(grad)


def channel_sums(grad: Shape, inputs: Sequence[Shape], *_: Any, **__: Any) -> int:
    """The sums of grad and of grad·input, as in mixed_sum_backward."""
    return (2 * len(inputs) + 1) * math.prod(grad)


def node_sum(inputs: Sequence[Shape], *_: Any, **__: Any) -> int:
    """As mixed_sum: a multiplication and an addition for every number."""
    return 2 * sum(math.prod(x) for x in inputs)


def project(x: Shape, weights: Sequence[Shape], stride: int, *_: Any, **__: Any) -> int:
    """For every number of y: I multiplications and additions, and the statistics."""
    outputs = weights[0][0] * len(weights) * weights[0][1]
    return (2 * x[3] + STATISTICS) * outputs * math.prod(_pooled(x, stride)[:3])


def project_backward(
    grads: Any, y: Shape, coefficients: Any, x: Shape, weights: Any, stride: int, need_weights: bool, **_: Any
) -> int:
    """For every number of y: dy (2 multiplications and 2 additions), I multiplications and additions for x, and as many
    for the weights."""
    return (4 + (1 + int(need_weights)) * 2 * x[3]) * math.prod(y)


def stage(
    x: Shape, depthwise: Sequence[Shape], pointwise: Any, dilation: Any, stride: int, mean: Any, *_: Any, **__: Any
) -> int:
    """BN of x, then for every number of y: K² and C multiplications and additions, and the statistics."""
    channels = x[-1]
    each = sum(2 * d[1] * d[2] + 2 * channels + STATISTICS for d in depthwise)
    return each * _pixels(x, depthwise, stride) * channels + (BN * math.prod(x) if mean is not None else 0)


def stage_backward(
    grads: Any,
    y: Any,
    coefficients: Any,
    x: Shape,
    depthwise: Sequence[Shape],
    pointwise: Any,
    dilation: Any,
    stride: int,
    mean: Any,
    rstd: Any,
    need_weights: bool,
    **_: Any,
) -> int:
    """For every number of y: dy from grad and y (2 multiplications and 2 additions), then the pointwise and the
    depthwise convolution backwards; for the gradients of the weights as much again, and the depthwise convolution
    once more, for its result. For every number of x, where there is BN: BN, and the sums of dz and of dz·z."""
    channels, of_weights = x[-1], int(need_weights)
    each = sum(4 + (1 + of_weights) * 2 * channels + (1 + 2 * of_weights) * 2 * d[1] * d[2] for d in depthwise)
    norm = (BN + 3) * math.prod(x) if mean is not None else 0
    return each * _pixels(x, depthwise, stride) * channels + norm


def pools(x: Shape, stride: int, *_: Any, **__: Any) -> int:
    """For every pooled number the average (8 additions, a multiplication) and the statistics of both pools."""
    return (9 + 2 * STATISTICS) * math.prod(_pooled(x, stride))


def pools_backward(grads: Sequence[Shape], most: Shape, *_: Any, **__: Any) -> int:
    """For every pooled number and both pools, E gradients, the pool itself and a constant weighed and added up (E + 1
    multiplications and additions); then the maximum's gradient is added to one number, the average's divided and added
    to 9."""
    return (2 * 2 * (len(grads) + 1) + 1 + 10) * math.prod(most)


def _pixels(x: Shape, depthwise: Sequence[Shape], stride: int) -> int:
    """E·N·h·w."""
    return depthwise[0][0] * math.prod(_pooled(x[1:], stride)[:-1])


def _pooled(x: Shape, stride: int) -> tuple[int, ...]:
    """[N, H, W, C] → [N, h, w, C]."""
    return (x[0], pooled(x[1], stride), pooled(x[2], stride), x[3])


def register() -> None:
    """Makes FlopCounterMode know the operators. (threshold compares and adds nothing.)"""
    staging = channel_sums, node_sum, stage, stage_backward, pools, pools_backward, project, project_backward
    for formula in (mixed_sum, mixed_sum_backward, *staging):
        register_flop_formula(getattr(torch.ops.ddarts, formula.__name__))(formula)
