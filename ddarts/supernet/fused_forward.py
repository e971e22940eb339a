"""A cell's forward pass by source state. Legend: see fused_plan.py. G networks run side by side, each on N images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ddarts.ops.staging import Runner
from ddarts.space.topology import INPUTS, node_edges
from ddarts.supernet.fused_norms import Lines
from ddarts.supernet.fused_plan import FIRST, SECOND, Brought, CellPlan, Stacks, Visit, images, pixels

Others = Callable[[int, Tensor, int], Sequence[Sequence[Tensor]]]  # (state's number, state, G) → Visit.other


class Input(NamedTuple):
    """An input state of G networks: `own` [g·N, H, W, C] of the first g; `shared`, by the others."""

    own: Tensor | None
    shared: Visit | None = None

    def owners(self, groups: int) -> int:
        """g, of G networks."""
        if self.shared is None:
            return groups
        return 0 if self.own is None else len(self.own) // len(self.shared.state)


class Read(NamedTuple):
    """What nodes read of a state: for each run of networks the outputs of plan.outputs, and BN statistics
    [G, e, K + 2, C]."""

    outputs: Sequence[Sequence[Sequence[Tensor]]]
    mean: Tensor
    rstd: Tensor


@dataclass(frozen=True)
class Forward:
    """One forward pass of one cell. weights: mixing weights [G, E, K], edges as α has them. given: BN's mean and
    rstd; None: those of the batch. keep: whether a backward pass may follow; without, what no node reads is
    freed at once. stored: how the outputs of stages are stored, most of what is kept; None: like the states.
    Whatever is computed with them is computed in the states' precision."""

    plan: CellPlan
    weights: Tensor
    stacks: Stacks
    given: tuple[Lines, Lines] | None
    others: Others
    eps: float
    keep: bool
    stored: torch.dtype | None = None

    @cached_property
    def _call(self) -> Runner:
        return Runner(self.weights.device)

    def run(self, inputs: Sequence[Input]) -> tuple[Tensor, list[Visit]]:
        """The cell's output, images [G·N, multiplier·C, h, w], and the visits of the states that edges leave, without
        those of shared input states."""
        groups = len(self.weights)
        owners = [x.owners(groups) for x in inputs]
        together = min(owners)  # networks that share nothing: one run; each of the others is a run by itself
        runs = [slice(0, together)] if together else []
        runs += [slice(g, g + 1) for g in range(together, groups)]
        states = [x.own for x in inputs]
        visits: list[Visit] = []
        reads: list[Read] = []
        for source in range(self.plan.states - 1):
            if source >= INPUTS:
                states.append(self._node(source, reads))
            own, visit = states[source], None
            count, shared = (owners[source], inputs[source].shared) if source < INPUTS else (groups, None)
            if own is not None:
                visit = self.visit(source, own, count)
                visits.append(visit if self.keep else replace(visit, first=(), second=(), index=visit.most))
            reads.append(self._read(source, visit, count, shared, runs))
        states.append(self._node(self.plan.states - 1, reads))
        shown = [state for state in states[-self.plan.multiplier :] if state is not None]
        return images(torch.cat(shown, dim=3)), visits

    def bring(self, source: int, x: Tensor, groups: int) -> Brought:
        """The preprocessing of an input [G·N, H, W, I]."""
        weights = self.stacks.inputs[source]
        (y,), mean, rstd = self._call("project", x, weights, len(weights), self.eps, groups)
        if self.given is not None:
            mean, rstd = (table.inputs[source].expand(groups, 1, -1) for table in self.given)
        state = self._call("node_sum", [images(y)], x.new_ones(groups, 1), mean, rstd)
        return Brought(x, pixels(state), mean, rstd)

    def visit(self, source: int, x: Tensor, groups: int) -> Visit:
        """All that edges read of a state [G·N, H, W, C]."""
        plan, stacks, given = self.plan, self.stacks, self.given
        rows, stride = plan.rows(source), plan.stride(source)
        depthwise, pointwise = ([w[rows] for w in group] for group in (stacks.depthwise, stacks.pointwise))
        cut, inner = len(FIRST), len(plan.operations)
        table = None if given is None else [v.edges[rows].expand(groups, -1, -1, -1) for v in given]
        most, average, index, *pooled = self._call("pools", x, stride, self.eps, groups)
        kinds = depthwise[:cut], pointwise[:cut], [kind.dilation for kind in FIRST]
        first, *opened = self._call("stage", x[None], *kinds, stride, None, None, self.eps, groups, self.stored)
        second, closed = [], []
        for s, kind in enumerate(SECOND):
            late = slice(cut + s, cut + s + 1)
            mean, rstd = (v[:, s] for v in opened) if table is None else (v[:, :, inner + s] for v in table)
            stage = first[s], depthwise[late], pointwise[late], [kind.dilation], 1
            (y,), *found = self._call("stage", *stage, mean.contiguous(), rstd.contiguous(), self.eps, groups)
            second.append(y)
            closed.append(found)
        skips = [w[rows] for w in stacks.reduce] if stride > 1 else []
        reduced, *skipped = self._call("project", x, skips, stride, self.eps, groups) if skips else (None, None, None)
        if table is None:
            table = []
            for i, neutral in enumerate((0.0, 1.0)):
                parts = {"pool": pooled[i], "first": opened[i], "second": torch.cat([found[i] for found in closed], 1)}
                if skips:
                    parts["skip"] = skipped[i]
                table.append(_table(plan, parts, neutral))
        other = self.others(source, x, groups)
        return Visit(x, most, average, index, first, second, reduced, table[0], table[1], other)

    def _read(self, source: int, visit: Visit | None, count: int, shared: Visit | None, runs: Sequence[slice]) -> Read:
        """Of the first `count` networks what `visit` holds, of the others what `shared` does."""
        outputs = []
        for part in runs:
            if visit is None or part.start >= count:
                assert shared is not None
                outputs.append(self.plan.outputs(source, shared))
            else:
                outputs.append(self.plan.outputs(source, visit.of(part)))
        tables = [] if visit is None else [(visit.mean, visit.rstd)]
        if shared is not None:
            tables += [(shared.mean, shared.rstd)] * (runs[-1].stop - count)
        mean, rstd = tables[0] if len(tables) == 1 else (torch.cat(parts) for parts in zip(*tables, strict=True))
        return Read(outputs, mean, rstd)

    def _node(self, node: int, reads: Sequence[Read]) -> Tensor:
        plan, kinds = self.plan, len(self.plan.operations)
        edges = [node - plan.targets(source).start for source in range(node)]
        inputs = [
            output[edge]
            for part in range(len(reads[0].outputs))
            for read, edge in zip(reads, edges, strict=False)
            for output in read.outputs[part]
        ]
        mean, rstd = (
            torch.cat([table[:, edge, :kinds] for table, edge in zip(tables, edges, strict=False)], dim=1)
            for tables in ([read.mean for read in reads], [read.rstd for read in reads])
        )
        values = self.weights[:, node_edges(node)].flatten(1)
        return pixels(self._call("node_sum", inputs, values, mean, rstd))


def _table(plan: CellPlan, found: Mapping[str, Tensor], neutral: float) -> Tensor:
    """Means (or rstd) of the pools [G, 2, C], of strided skip connections [G, e, C], of the second stages [G, 2, e, C]
    and of the first [G, 4, e, C] → [G, e, K + 2, C]; `neutral` where there is no BN."""
    first = found["first"][:, 0]
    plain = first.new_full((), neutral).expand_as(first)
    lines = []
    for column in plan.columns:
        if column is None or column[0] not in found:
            lines.append(plain)
        elif column[0] == "pool":
            lines.append(found["pool"][:, column[1], None].expand_as(first))
        elif column[0] == "skip":
            lines.append(found["skip"])
        else:
            lines.append(found[column[0]][:, column[1]])
    return torch.stack(lines, dim=2)
