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
from ddarts_benchmarks.nodes import EPS, Case, Node, Variant

Function = Callable[[Sequence[Tensor], Tensor], Tensor]  # inputs, weights -> sum
Results = tuple[Tensor, ...]  # the sum, gradients of the inputs wanted, gradient of the weights


def eager(inputs: Sequence[Tensor], weights: Tensor, node: Node, variant: Variant) -> Tensor:
    """Plain torch: every kept term normalised, weighed and added. It has no use for given statistics, since gradients
    run through those of the batch."""
    values = (weights.sigmoid() if variant.logits else weights).unbind()
    total: Tensor | None = None
    for x, w, norm, keep in zip(inputs, values, node.norm, node.kept(variant.share), strict=True):
        if keep:
            z = F.batch_norm(x, None, None, training=True, eps=EPS) if norm == Norm.BATCH else x
            total = w * z if total is None else total + w * z
    assert total is not None
    return total


def plain(case: Case, variant: Variant) -> Function:
    """eager for a case."""
    return partial(eager, node=case.node, variant=variant)


def compiled(case: Case, variant: Variant) -> Function:
    """torch.compile of eager."""
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
    """Forward and backward of a case. The gradients of inputs that are left out are not asked for."""
    kept = case.node.kept(variant.share)
    inputs = [x.detach().requires_grad_(variant.wanted and keep) for x, keep in zip(case.inputs, kept, strict=True)]
    weights = case.weights.detach().requires_grad_()
    leaves = [*(x for x in inputs if x.requires_grad), weights]

    def run() -> Results:
        out = function(inputs, weights)
        return (out, *torch.autograd.grad(out, leaves, case.grad))

    return run


def truth(case: Case, variant: Variant) -> Results:
    """What is right: eager in float64, on the inputs as they are rounded."""
    wide = Case(
        case.node, [x.double() for x in case.inputs], case.weights.double(), case.grad.double(), case.statistics
    )
    return step(plain(wide, variant), wide, variant)()


def check(who: str, got: Results, wanted: Results) -> None:
    """WrongKernelError unless the sum and all gradients are right."""
    inputs = [f"gradient {i} of the inputs" for i in range(len(wanted) - 2)]
    check_close(who, got, wanted, ["the sum", *inputs, "the weights' gradient"])
