"""The operations of a cell that have no fused form: torch's modules, run edge by edge inside the fused cell.

Legend: see fused_plan.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddarts.supernet.fused_plan import CellPlan, images


class OtherOperations:
    """One pass through them: branches[edge][i] is operation i of an edge, edges sorted by source."""

    def __init__(self, plan: CellPlan, branches: Sequence[Sequence[nn.Module]], record: bool) -> None:
        self.plan, self.branches, self.record = plan, branches, record
        self.parameters = [p for branch in branches for module in branch for p in module.parameters()]
        self.gradients: list[Tensor | None] = []
        self._graphs: dict[int, tuple[Tensor, list[Tensor]]] = {}

    def forward(self, source: int, state: Tensor, groups: int) -> list[list[Tensor]]:
        """State [G·N, H, W, C] of G networks (one, if `record`) → for each operation its e outputs, images; what
        backward needs is kept if `record`."""
        if not self.plan.others:
            return []
        leaf = images(state).detach().requires_grad_(self.record)
        branches = self.branches[self.plan.rows(source)]
        if not self.record:
            return [[grouped(branch[i], leaf, groups) for branch in branches] for i in range(len(self.plan.others))]
        with torch.enable_grad():
            made = [[branch[i](leaf) for branch in branches] for i in range(len(self.plan.others))]
        self._graphs[source] = leaf, [y for outputs in made for y in outputs]
        return [[y.detach() for y in outputs] for outputs in made]

    def backward(self, source: int, slopes: Sequence[Sequence[Tensor]], need_parameters: bool) -> Tensor:
        """Gradient of the state, images, for those of the outputs; the parameters' are put in front of `gradients`."""
        leaf, made = self._graphs[source]
        branches = self.branches[self.plan.rows(source)]
        weights = [p for branch in branches for module in branch for p in module.parameters() if need_parameters]
        flat = [slope for group in slopes for slope in group]
        found = torch.autograd.grad(made, [leaf, *weights], flat, retain_graph=True)
        self.gradients[:0] = found[1:]
        return found[0]


def grouped(module: nn.Module, x: Tensor, groups: int) -> Tensor:
    """The module on each of G groups of consecutive images, without gradients: BN has statistics for each."""
    with torch.no_grad():
        return module(x) if groups == 1 else torch.cat([module(part) for part in x.chunk(groups)])
