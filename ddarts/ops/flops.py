"""FLOPs of the operators for torch.utils.flop_counter: every addition and every multiplication counts one.

Formulas see shapes in place of tensors. Legend: U inputs of `size` numbers each.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from ddarts_kernels.mixed_sum.reference import Norm
from torch.utils.flop_counter import register_flop_formula

Shape = Sequence[int]


def mixed_sum(
    inputs: Sequence[Shape], weights: Shape, source: Sequence[int], norm: Sequence[int], mean: Any, *_: Any, **__: Any
) -> int:
    """A multiplication and an addition for every number; where statistics are computed, an addition for the mean, and
    a subtraction, a multiplication and an addition for the variance."""
    size = math.prod(inputs[0])
    computed = list(norm).count(Norm.BATCH) if mean is None else 0
    return (2 * len(inputs) + 4 * computed) * size


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


def register() -> None:
    """Makes FlopCounterMode know the operators. (threshold compares and adds nothing.)"""
    register_flop_formula(torch.ops.ddarts.mixed_sum)(mixed_sum)
    register_flop_formula(torch.ops.ddarts.mixed_sum_backward)(mixed_sum_backward)
