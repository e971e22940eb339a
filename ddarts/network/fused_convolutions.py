"""All separable and dilated convolutions that read one state, differentiable, in one call of the stage operator.

Each ends in BN. What it hands on is what that BN reads, y, beside the batch statistics: BN is applied where y is
summed, in the same pass (fused_sum.py). To autograd y stands for BN(y): a sum passes its own gradient on, and the
backward pass here begins with BN's.

Legend: N images, H, W pixels of the state, h, w after the stride, C channels, U tensors that lead to the same node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from ddarts_kernels.mixed_sum.reference import Norm
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddarts.ops.normalization import coefficients
from ddarts.ops.staging import run

_TINY = 1e-20  # what a BN weight of 0 counts as before a ReLU, whose input is then its bias


class Stage(NamedTuple):
    """ReLU, depthwise, pointwise, BN: the weights of all four, as their modules hold them."""

    depthwise: Tensor  # [C, 1, K, K]
    pointwise: Tensor  # [C, C, 1, 1]
    weight: Tensor  # [C]
    bias: Tensor  # [C]


@dataclass(frozen=True)
class Branches:
    """What the convolutions that read one state are, besides their weights.

    dilation, stages: of each branch; one with two stages is a separable convolution. node: where each leads to.
    """

    dilation: tuple[int, ...]
    stages: tuple[int, ...]
    node: tuple[int, ...]
    stride: int
    eps: float

    def split(self, weights: Sequence[Tensor]) -> list[list[Stage]]:
        """The stages of each branch, from the flat list of all weights."""
        stages = [Stage(*weights[i : i + len(Stage._fields)]) for i in range(0, len(weights), len(Stage._fields))]
        return [[stages.pop(0) for _ in range(count)] for count in self.stages]


class Statistics(NamedTuple):
    """mean and rstd [C] of a batch, over `count` values."""

    mean: Tensor
    rstd: Tensor


def branches(plan: Branches, x: Tensor, weights: Sequence[Tensor]) -> tuple[list[Tensor], list[list[Statistics]]]:
    """State x [N, C, H, W] → of each branch y [N, C, h, w], standing for BN(y), and the statistics of its stages."""
    found = _Branches.apply(plan, x, *weights)
    count = len(plan.stages)
    tables = [Statistics(mean, rstd) for mean, rstd in zip(found[count::2], found[count + 1 :: 2], strict=True)]
    return list(found[:count]), [[tables.pop(0) for _ in range(n)] for n in plan.stages]


class _Branches(torch.autograd.Function):
    """(plan, x, weights of all stages) → y of each branch, then mean and rstd of each stage."""

    @staticmethod
    def forward(ctx: Any, plan: Branches, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        state, split = pixels(x)[None], plan.split(weights)
        first = [stages[0] for stages in split]
        inner, mean, rstd = run(
            "stage", x.device, state, *_kernels(first), list(plan.dilation), plan.stride, None, None, plan.eps, 1
        )
        ends, found = [], []
        for b, stages in enumerate(split):
            end = inner[b]
            found.append(Statistics(mean[0, b, 0], rstd[0, b, 0]))
            if len(stages) == 2:
                before = (table[None] for table in _folded(found[-1], stages[0]))
                (end,), *last = run("stage", x.device, end, *_kernels(stages[1:]), [1], 1, *before, plan.eps, 1)
                found.append(Statistics(*(table[0, 0, 0] for table in last)))
            ends.append(end)
        ctx.plan = plan
        flat = [value for statistics in found for value in statistics]
        ctx.save_for_backward(state, *inner, *ends, *flat, *weights)
        ctx.mark_non_differentiable(*flat)
        return *(images(end[0]) for end in ends), *flat

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = _Backward(ctx.plan, ctx.saved_tensors, any(ctx.needs_input_grad[2:]))
        return None, *found.run(grads[: len(ctx.plan.stages)])


class _Backward:
    """One backward pass of all branches of a state."""

    def __init__(self, plan: Branches, saved: Sequence[Tensor], need_weights: bool) -> None:
        self.plan, self.need_weights = plan, need_weights
        count, stages = len(plan.stages), sum(plan.stages)
        self.state, self.inner, self.ends = saved[0], saved[1 : 1 + count], saved[1 + count : 1 + 2 * count]
        flat = saved[1 + 2 * count : 1 + 2 * count + 2 * stages]
        tables = [Statistics(*flat[i : i + 2]) for i in range(0, len(flat), 2)]
        self.statistics = [[tables.pop(0) for _ in range(n)] for n in plan.stages]
        self.weights = plan.split(saved[1 + 2 * count + 2 * stages :])

    def run(self, grads: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """For the gradient of BN(y) of each branch: those of x and of all weights."""
        slopes, lines = self._ends(grads)
        late: list[list[Tensor]] = [[] for _ in slopes]
        for b, stages in enumerate(self.weights):
            if len(stages) == 2:
                slopes[b], lines[b], late[b] = self._second(b, slopes[b], lines[b])
        stage = (list(self.plan.dilation), self.plan.stride, None, None, self.need_weights)
        first = [stages[0] for stages in self.weights]
        dx, taps, mixes, _ = self._backward(slopes, self.inner, torch.stack(lines)[:, None], self.state, first, *stage)
        if not self.need_weights:
            return [images(dx[0]), *[None] * sum(len(stage) for stages in self.weights for stage in stages)]
        found = [images(dx[0])]
        for tap, mix, middle, affine in zip(taps, mixes, late, self.affine, strict=True):
            found += [_taps(tap), _mixes(mix), *middle, *affine]
        return found

    def _ends(self, grads: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Through the last BN of every branch: gradients as they are, and their coefficients [3, C]. Branches that lead
        to the same node have the same gradient."""
        slopes, lines = [pixels(g) for g in grads], list(grads)
        self.affine: list[tuple[Tensor, Tensor]] = [(g, g) for g in grads]
        for node in dict.fromkeys(self.plan.node):
            alike = [b for b, to in enumerate(self.plan.node) if to == node]
            known = [self.statistics[b][-1] for b in alike]
            scale = [self.weights[b][-1].weight for b in alike]
            rows, affine = _through(slopes[alike[0]], [self.ends[b][0] for b in alike], known, scale)
            for b, line, pair in zip(alike, rows, affine, strict=True):
                lines[b], self.affine[b] = line, pair
        return slopes, lines

    def _second(self, b: int, slope: Tensor, line: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Through the second stage of a branch and the BN before it: gradient and coefficients of the first stage's
        output; gradients of that BN's weight and bias, and of the second stage's kernels."""
        first, second = self.weights[b]
        before = _folded(self.statistics[b][0], first)
        stage = ([1], 1, *before, self.need_weights)
        dz, taps, mixes, _ = self._backward([slope], [self.ends[b]], line[None, None], self.inner[b], [second], *stage)
        (row,), ((weight, bias),) = _through(dz[0], [self.inner[b][0]], [self.statistics[b][0]], [first.weight])
        kernels = [_taps(taps[0]), _mixes(mixes[0])] if self.need_weights else []
        return dz[0], row, [weight, bias, *kernels]

    def _backward(self, slopes, y, lines, x, stages, *rest) -> Any:
        return run("stage_backward", x.device, slopes, list(y), lines, x, *_kernels(stages), *rest)


def _through(
    slope: Tensor, y: Sequence[Tensor], statistics: Sequence[Statistics], weights: Sequence[Tensor]
) -> tuple[Sequence[Tensor], list[tuple[Tensor, Tensor]]]:
    """BN's backward for U tensors y [N, h, w, C] with the same gradient of BN(y): coefficients [3, C] of each one's
    gradient, and the gradients of each one's weight and bias."""
    mean, rstd = (torch.stack(values) for values in zip(*statistics, strict=True))
    norms = [Norm.FIXED] * len(y)
    total, products = run("channel_sums", slope.device, images(slope), [images(v) for v in y], norms, mean, rstd)
    scale = torch.stack(list(weights)).to(mean.dtype)
    count = slope.numel() // max(1, slope.shape[-1])
    lines = coefficients(scale, mean, rstd, (total.expand_as(products), products), count)
    return lines.unbind(0), [(product, total) for product in products]


def _folded(statistics: Statistics, stage: Stage) -> tuple[Tensor, Tensor]:
    """mean and rstd [1, C] of a BN without weight and bias that gives what the BN of `stage` gives."""
    weight = stage.weight.to(statistics.mean.dtype)
    weight = torch.where(weight.abs() < _TINY, _TINY, weight)
    rstd = weight * statistics.rstd
    return (statistics.mean - stage.bias / rstd)[None], rstd[None]


def images(x: Tensor) -> Tensor:
    """[N, H, W, C] → [N, C, H, W], the same memory."""
    return x.permute(0, 3, 1, 2)


def pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] → dense [N, H, W, C]; the same memory where x is in channels-last order."""
    return x.permute(0, 2, 3, 1).contiguous()


def _kernels(stages: Sequence[Stage]) -> tuple[list[Tensor], list[Tensor]]:
    """depthwise [1, K, K, C] and pointwise [1, C, C] (in, out) of each stage."""
    return [s.depthwise.permute(1, 2, 3, 0) for s in stages], [s.pointwise.flatten(1).mT[None] for s in stages]


def _taps(gradient: Tensor) -> Tensor:
    """[1, K, K, C] → [C, 1, K, K]."""
    return gradient.permute(3, 0, 1, 2)


def _mixes(gradient: Tensor) -> Tensor:
    """[1, C, C] (in, out) → [C, C, 1, 1]."""
    return gradient[0].mT[:, :, None, None]
