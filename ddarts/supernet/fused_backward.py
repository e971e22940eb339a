"""A cell's backward pass by source state, from the last to the first. Legend: see fused_plan.py.

A node's gradient G is complete when all edges that leave the node have been differentiated. Two sums over it for each
term, Σ G and Σ G·BN(y), give the gradient of the mixing weights and, as coefficients, that of every
y (ops/normalization).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ddarts.ops.normalization import coefficients
from ddarts.ops.staging import Runner
from ddarts.space.topology import INPUTS, node_edges
from ddarts.supernet.fused_plan import (
    AVERAGE,
    FIRST,
    MAX,
    SECOND,
    SKIP,
    Brought,
    CellPlan,
    Stacks,
    Visit,
    images,
    pixels,
)

# (state's number, for each operation that is not fused the gradients of its e outputs, whether parameters need
# gradients) → gradient of the state, images
Others = Callable[[int, list[list[Tensor]], bool], Tensor]


class Wanted(NamedTuple):
    """Which gradients are needed: of the inputs, of the mixing weights, of any parameter."""

    inputs: Sequence[bool]
    mixing: bool
    parameters: bool


class Node(NamedTuple):
    """A node's gradient [N, h, w, C], and the coefficients [edges, K, 3, C] of the gradients of what it sums."""

    gradient: Tensor
    coefficients: Tensor


@dataclass
class Gradients:
    """What a backward pass found. Parameters as in Stacks, but of edges one list for each, over the states."""

    inputs: list[Tensor | None] = field(default_factory=lambda: [None] * INPUTS)
    mixing: list[Tensor] = field(default_factory=list)
    depthwise: list[list[Tensor]] = field(default_factory=list)
    pointwise: list[list[Tensor]] = field(default_factory=list)
    reduce: list[list[Tensor]] = field(default_factory=list)
    preprocess: list[list[Tensor]] = field(default_factory=lambda: [[] for _ in range(INPUTS)])


class Backward:
    """One backward pass of one cell."""

    def __init__(
        self,
        plan: CellPlan,
        brought: Sequence[Brought],
        visits: Sequence[Visit],
        weights: Tensor,
        stacks: Stacks,
        batch: bool,
        others: Others,
    ) -> None:
        self.plan, self.brought, self.visits = plan, brought, visits
        self.weights, self.stacks, self.batch = weights, stacks, batch
        self.others, self._run = others, Runner(weights.device)
        self.outputs = [plan.outputs(source, visit) for source, visit in enumerate(visits)]
        self.nodes: dict[int, Node] = {}
        self.found = Gradients()

    def run(self, grad: Tensor, wanted: Wanted) -> Gradients:
        """The gradients that are wanted, for that of the cell's output, images [N, multiplier·C, h, w]."""
        self.wanted = wanted
        shown = range(self.plan.states - self.plan.multiplier, self.plan.states)
        slices = dict(zip(shown, grad.chunk(self.plan.multiplier, dim=1), strict=True))
        for state in reversed(range(self.plan.states)):
            if state < INPUTS and not (wanted.inputs[state] or wanted.parameters):
                continue
            total = self._total(state, slices.get(state))
            if state < INPUTS:
                self._input(state, pixels(total))
            else:
                self.nodes[state] = self._node(state, pixels(total))
        return self.found

    def _input(self, source: int, gradient: Tensor) -> None:
        """Through the preprocessing, from the gradient of the state [N, h, w, C]."""
        (x, state, _, rstd), weights = self.brought[source], self.stacks.inputs[source]
        sums = None
        if self.batch:
            sums = self._run("channel_sums", images(gradient), [images(state)], [0], None, None)
        plain = torch.zeros_like(rstd[0]), torch.ones_like(rstd[0])  # the state is normalised already
        lines = coefficients(rstd[0], *plain, sums, gradient.numel() // max(1, gradient.shape[3]))
        need, stride = self.wanted.parameters, len(weights)
        dx, own = self._run("project_backward", [gradient], state[None], lines, x, weights, stride, need)
        self.found.inputs[source], self.found.preprocess[source] = images(dx), own

    def _total(self, state: int, own: Tensor | None) -> Tensor:
        """The gradient of a state, images: `own`, what the cell's output hands it, and all that its edges do."""
        if state == self.plan.states - 1:
            assert own is not None  # the last node is always shown
            return own
        parts, factors = self._leave(state)
        if own is not None:
            parts.append(own)
        ones = self.weights.new_ones(len(parts) - len(factors))
        return self._run("node_sum", parts, torch.cat([factors, ones])[None], None, None)

    def _node(self, node: int, gradient: Tensor) -> Node:
        inputs, norms, mean, rstd = self._terms(node)
        sums = None
        if self.batch or self.wanted.mixing:
            sums = self._run("channel_sums", images(gradient), inputs, norms, mean, rstd)
            self.found.mixing.insert(0, sums[1].sum(1).view(node, -1))
        scale = self.weights[node_edges(node)].reshape(-1, 1)
        count = gradient.numel() // max(1, gradient.shape[3])
        found = coefficients(scale, mean, rstd, sums if self.batch else None, count)
        return Node(gradient, found.unflatten(0, (node, -1)))

    def _terms(self, node: int) -> tuple[list[Tensor], list[int], Tensor, Tensor]:
        """What a node summed: U images, how they are normalised, and their statistics [U, C]."""
        kinds, inputs, norms, tables = len(self.plan.operations), [], [], []
        for source, visit in enumerate(self.visits[:node]):
            edge = node - self.plan.targets(source).start
            inputs += [output[edge] for output in self.outputs[source]]
            norms += self.plan.norms(source, self.batch)
            tables.append((visit.mean[0, edge, :kinds], visit.rstd[0, edge, :kinds]))
        mean, rstd = (torch.cat(lines) for lines in zip(*tables, strict=True))
        return inputs, norms, mean, rstd

    def _leave(self, state: int) -> tuple[list[Tensor], Tensor]:
        """Contributions of the edges that leave a state to its gradient, images, and factors of the first of them (the
        others count once)."""
        plan, visit = self.plan, self.visits[state]
        found = [self.nodes[node] for node in plan.targets(state)]
        grads = [node.gradient for node in found]
        lines = torch.stack([node.coefficients[state] for node in found], dim=1)  # [K, e, 3, C]
        of = dict(zip(plan.operations, lines, strict=True))
        parts = [self._stages(state, grads, of), self._pools(state, grads, of)]
        factors = lines.new_empty(0)
        if visit.reduced is None:
            parts = [images(g) for g in grads] + parts
            factors = of[SKIP][:, 0, 0]
        else:
            parts.append(self._reduce(state, grads, visit.reduced, of[SKIP]))
        if plan.others:
            slopes = [
                [c[0, :, None, None] * images(g) for c, g in zip(of[name], grads, strict=True)] for name in plan.others
            ]
            parts.append(self.others(state, slopes, self.wanted.parameters))
        return parts, factors

    def _stages(self, state: int, grads: list[Tensor], of: dict[str, Tensor]) -> Tensor:
        visit, cut = self.visits[state], len(FIRST)
        slopes, lines, *late = self._second(state, grads, of)
        for kind in FIRST[len(SECOND) :]:
            slopes += grads
            lines.append(of[kind.operation])
        depthwise, pointwise = ([w[self.plan.rows(state)] for w in group[:cut]] for group in self.stacks[:2])
        dilation, need = [kind.dilation for kind in FIRST], self.wanted.parameters
        stage = (visit.state[None], depthwise, pointwise, dilation, self.plan.stride(state), None, None, need)
        dx, *own, _ = self._run("stage_backward", slopes, visit.first, torch.stack(lines), *stage)
        if need:
            for found, early, rest in zip((self.found.depthwise, self.found.pointwise), own, late, strict=True):
                found.insert(0, [*early, *rest])
        return images(dx[0])

    def _second(
        self, state: int, grads: list[Tensor], of: dict[str, Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Through the second stages of the separable convolutions and the BN in front of them: gradients of the first
        stages' outputs [N, h, w, C] with their coefficients [e, 3, C], and gradients of the parameters."""
        visit, inner, cut = self.visits[state], len(self.plan.operations), len(FIRST)
        slopes: list[Tensor] = []
        lines, depthwise, pointwise = [], [], []
        for s, kind in enumerate(SECOND):
            mean, rstd = (table[0, :, inner + s].contiguous() for table in (visit.mean, visit.rstd))
            weights = [[group[cut + s][self.plan.rows(state)]] for group in self.stacks[:2]]
            stage = (visit.first[s], *weights, [kind.dilation], 1, mean, rstd, self.wanted.parameters)
            ends = [visit.second[s]], of[kind.operation][None]
            dz, taps, mixes, sums = self._run("stage_backward", grads, *ends, *stage)
            slopes += dz.unbind(0)
            pair = (sums[:, 0], sums[:, 1]) if self.batch else None
            count = dz[0].numel() // max(1, dz.shape[-1])
            lines.append(coefficients(torch.ones_like(rstd), mean, rstd, pair, count))
            depthwise += taps
            pointwise += mixes
        return slopes, lines, depthwise, pointwise

    def _pools(self, state: int, grads: list[Tensor], of: dict[str, Tensor]) -> Tensor:
        visit = self.visits[state]
        both = torch.stack([of[MAX], of[AVERAGE]])  # [2, e, 3, C]; the edges share the pools and their statistics
        lines = torch.cat([both[:, :, 0], both[:, :, 1:].sum(1)], dim=1)
        _, height, width, _ = visit.state.shape
        pools = (visit.most, visit.average, visit.index)
        return images(self._run("pools_backward", grads, *pools, lines, height, width, self.plan.stride(state)))

    def _reduce(self, state: int, grads: list[Tensor], reduced: Tensor, lines: Tensor) -> Tensor:
        weights = [w[self.plan.rows(state)] for w in self.stacks.reduce]
        x, stride = self.visits[state].state, self.plan.stride(state)
        dx, own = self._run("project_backward", grads, reduced, lines, x, weights, stride, self.wanted.parameters)
        if self.wanted.parameters:
            self.found.reduce.insert(0, own)
        return images(dx)
