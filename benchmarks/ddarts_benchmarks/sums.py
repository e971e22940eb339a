"""mixed_sum's contestants: eager torch, torch.compile of it, and every backend that is here.

Legend: U inputs, n = U terms.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ddarts import ops
from ddarts.ops import Norm
from ddarts_benchmarks.correct import check_close
from ddarts_benchmarks.nodes import EPS, Case, Variant

Function = Callable[[Sequence[Tensor], Tensor], Tensor]  # inputs, weights -> sum
Results = tuple[
    Tensor, ...
]  # the sum; with a backward pass also gradients of the inputs wanted, gradient of the weights


def eager(
    inputs: Sequence[Tensor], weights: Tensor, norm: Sequence[Norm], keep: Sequence[bool], logits: bool
) -> Tensor:
    """Plain torch: every kept term normalised, weighed and added. It has no use for given statistics, since gradients
    run through those of the batch."""
    values = (weights.sigmoid() if logits else weights).unbind()
    total: Tensor | None = None
    for x, w, kind, kept in zip(inputs, values, norm, keep, strict=True):
        if kept:
            z = F.batch_norm(x, None, None, training=True, eps=EPS) if kind == Norm.BATCH else x
            total = w * z if total is None else total + w * z
    assert total is not None
    return total


def plain(case: Case, variant: Variant) -> Function:
    """eager for a case."""
    return partial(eager, norm=case.node.norm, keep=case.node.kept(variant.share), logits=variant.logits)


def compiled(case: Case, variant: Variant) -> Function:
    """torch.compile of eager, for this case alone: torch gives up a function that it has compiled often."""
    torch.compiler.reset()
    return torch.compile(plain(case, variant), fullgraph=True, dynamic=False)


def operator(case: Case, variant: Variant) -> Function:
    """ddarts.ops.mixed_sum on whatever backend is chosen when it runs."""
    keep = torch.tensor(case.node.kept(variant.share), device=case.grad.device) if variant.share < 1 else None
    return partial(
        ops.mixed_sum,
        norm=case.node.norm,
        statistics=case.statistics if variant.given else None,
        keep=keep,
        logits=variant.logits,
        eps=EPS,
    )


def step(function: Function, case: Case, variant: Variant) -> Callable[[], Results]:
    """Forward and, unless the variant is without, backward. Gradients of inputs that are left out are not wanted."""
    kept = case.node.kept(variant.share)
    inputs = [x.detach().requires_grad_(variant.wanted and keep) for x, keep in zip(case.inputs, kept, strict=True)]
    weights = case.weights.detach().requires_grad_()
    leaves = [*(x for x in inputs if x.requires_grad), weights]

    def forward() -> Results:
        with torch.no_grad():
            return (function(inputs, weights),)

    def both() -> Results:
        out = function(inputs, weights)
        return (out, *torch.autograd.grad(out, leaves, case.grad))

    return both if variant.backward else forward


def truth(case: Case, variant: Variant) -> Results:
    """What is right: eager in float64, on the inputs as they are rounded."""
    wide = Case(
        case.node, [x.double() for x in case.inputs], case.weights.double(), case.grad.double(), case.statistics
    )
    return step(plain(wide, variant), wide, variant)()


def check(who: str, got: Results, wanted: Results) -> None:
    """WrongKernelError unless the sum and all gradients are right."""
    inputs = [f"gradient {i} of the inputs" for i in range(len(wanted) - 2)]
    check_close(who, got, wanted, ["the sum", *inputs, "the weights' gradient"][: len(wanted)])
