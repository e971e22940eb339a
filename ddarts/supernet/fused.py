"""One cell of the search network, executed by source state: the same function as supernet/reference.py in fewer passes
over memory. What edges read of a state is computed once, or for all edges that leave the state in one call.

Modules, and with them parameters, state dictionaries and checkpoints, are those of the reference.
Legend: see fused_plan.py.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ddarts.ops.weighted import under_autocast
from ddarts.space.primitives import Space
from ddarts.space.topology import INPUTS, rows_by_source
from ddarts.supernet.fused_backward import Backward, Wanted
from ddarts.supernet.fused_forward import Forward, Input
from ddarts.supernet.fused_modules import CellModules
from ddarts.supernet.fused_norms import Lines
from ddarts.supernet.fused_others import OtherOperations
from ddarts.supernet.fused_plan import FIRST, FUSED, Brought, CellPlan, Visit, pixels
from ddarts.supernet.reference import Inputs, Keep, SearchCell

DTYPES = (torch.float32, torch.float64)
SAVED = 13  # tensors of a Visit that are saved


class Pass(NamedTuple):
    """What a pass made: the output, and what a backward pass needs of the inputs and the states."""

    out: Tensor
    brought: Sequence[Brought]
    visits: Sequence[Visit]


class FusedCell(SearchCell):
    """A SearchCell that computes the edges from a state together.

    What is not fused runs as the reference does (see _fuses).
    """

    stored: torch.dtype | None = None  # how the outputs of stages are stored; None: like the states
    _held = False  # see hold_weights
    _returns = False  # see expect_return
    _kept: Sequence[Tensor] = ()  # stacks, while the weights are held
    _visits: Sequence[Visit] = ()
    _seen: tuple[Tensor, Tensor, Sequence[Visit]] | None = None  # inputs, and what was made of them

    def __init__(self, space: Space, steps: int, multiplier: int, *channels: Any, reduction: bool, **rest: Any) -> None:
        super().__init__(space, steps, multiplier, *channels, reduction=reduction, **rest)
        self.plan = CellPlan(space.operations, steps, multiplier, reduction)
        self._fits = set(space.operations) >= FUSED
        if self._fits:
            rows, names = rows_by_source(steps), list(enumerate(space.operations))
            edges = [{name: self._operation(row, k) for k, name in names} for row in rows]
            self.parts = CellModules(self.plan, edges, (self.preprocess0, self.preprocess1))

    def _run(self, s0: Tensor, s1: Tensor, weights: Tensor, keep: Keep | None) -> Tensor:
        if keep is not None or not self._fuses(s0, weights):
            return super()._run(s0, s1, weights, keep)
        record = torch.is_grad_enabled()
        others = OtherOperations(self.plan, self.parts.others, record)
        if not record:
            return self.execute((s0, s1), weights, self._read(), others).out
        # Views, because only of what is computed can a backward pass tell whether its gradient is asked for.
        parameters = [] if self._held else [parameter.view_as(parameter) for parameter in others.parameters]
        read, stacks = (self._read(), []) if self._held else (None, self.parts.stacks())
        out = _Differentiable.apply(self, others, read, s0, s1, weights, *stacks, *parameters)
        if self._returns:
            self._seen, self._returns = (s0, s1, self._visits), False
        return out

    def _fuses(self, s0: Tensor, weights: Tensor) -> bool:
        """Whether a pass is fused: not where the space lacks a fused operation, under autocast or in half precision,
        with parameters made in inference mode, and while the BN modules differ (some of them in evaluation mode)."""
        return (
            self._fits
            and not under_autocast(s0.device)
            and s0.dtype == weights.dtype
            and s0.dtype in DTYPES
            and not self.parts.inference
            and self.parts.norms.alike
        )

    def execute(
        self, inputs: Sequence[Tensor], weights: Tensor, stacks: Sequence[Tensor], others: OtherOperations
    ) -> Pass:
        """The cell's output and all that a backward pass needs; moves the running statistics as BN does."""
        job = self._job(weights[None], stacks, others)
        brought = [job.bring(source, pixels(x), 1) for source, x in enumerate(inputs)]
        out, visits = job.run([Input(x.state) for x in brought])
        if job.given is None:
            mean = Lines(torch.cat([v.mean for v in visits], 1)[0], torch.cat([x.mean for x in brought])[:, 0])
            rstd = Lines(torch.cat([v.rstd for v in visits], 1)[0], torch.cat([x.rstd for x in brought])[:, 0])
            shapes = (out.shape[0], *out.shape[2:]), brought[0].state.shape[:3]
            self.parts.norms.move(mean, rstd, [math.prod(shape) for shape in shapes])
        return Pass(out, brought, visits)

    def run_groups(self, shared: tuple[Tensor, Tensor], own: Inputs, weights: Tensor) -> Tensor:
        """As SearchCell.run_groups, in one pass."""
        if not self._fuses(shared[0], weights):
            return super().run_groups(shared, own, weights)
        groups, images = len(weights), len(shared[0])
        job = self._job(weights, self._read(), OtherOperations(self.plan, self.parts.others, record=False))
        inputs = []
        for source, x in enumerate(own):
            count = 0 if x is None else len(x) // images
            mine = None if x is None else job.bring(source, pixels(x), count).state
            inputs.append(Input(mine, self._known(source, shared, job) if count < groups else None))
        return job.run(inputs)[0]

    def _known(self, source: int, inputs: tuple[Tensor, Tensor], job: Forward) -> Visit:
        """What was made of an input, or is now."""
        if self._seen is not None and self._seen[0] is inputs[0] and self._seen[1] is inputs[1]:
            return self._seen[2][source]
        return job.visit(source, job.bring(source, pixels(inputs[source]), 1).state, 1)

    def _job(self, weights: Tensor, stacks: Sequence[Tensor], others: OtherOperations) -> Forward:
        norms, stacked = self.parts.norms, self.parts.grouped(stacks)
        given = None if norms.batch else norms.given()
        return Forward(self.plan, weights, stacked, given, others.forward, norms.eps, others.record, self.stored)

    def hold_weights(self, held: bool) -> None:
        """As SearchCell.hold_weights: the weights are stacked once."""
        self._held = held
        self._kept = ()
        if not held:
            self._returns, self._visits, self._seen = False, (), None

    def expect_return(self) -> None:
        """As SearchCell.expect_return: what the next pass makes of the inputs is kept for run_groups."""
        self._returns = True

    def remember(self, visits: Sequence[Visit]) -> None:
        """Keep what was made of the input states, if passes with the same ones are to come."""
        if self._returns:
            self._visits = list(visits[:INPUTS])

    @torch.no_grad()
    def _read(self) -> Sequence[Tensor]:
        """The parameters as the operators read them, not to be differentiated; made once while they are held."""
        found = self._kept or self.parts.as_read(self.parts.stacks())
        if self._held:
            self._kept = found
        return found


class _Differentiable(torch.autograd.Function):
    """FusedCell.execute with a backward pass: (cell, its other operations, parameters as the operators read
    them where they are constants, both inputs, mixing weights; else the stacks, and parameters of the other operations)
    → output."""

    @staticmethod
    def forward(
        ctx: Any, cell: FusedCell, others: OtherOperations, held: Sequence[Tensor] | None, *tensors: Tensor
    ) -> Tensor:
        inputs, weights = tensors[:INPUTS], tensors[INPUTS]
        if held is None:
            stacks = cell.parts.as_read(tensors[INPUTS + 1 : len(tensors) - len(others.parameters)])
        else:
            stacks = list(held)
        out, brought, visits = cell.execute(inputs, weights, stacks, others)
        cell.remember(visits)
        ctx.cell, ctx.others, ctx.batch, ctx.stacks = cell, others, cell.parts.norms.batch, len(stacks)
        ctx.made = [visit.other for visit in visits]
        states = [x for each in brought for x in each]
        ctx.save_for_backward(weights, *stacks, *states, *(x for visit in visits for x in _flat(visit)))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *saved = ctx.saved_tensors
        stacks, saved = saved[: ctx.stacks], saved[ctx.stacks :]
        size = len(Brought._fields)
        brought = [Brought(*saved[i * size : (i + 1) * size]) for i in range(INPUTS)]
        saved = saved[INPUTS * size :]
        visits = [_visit(saved[i * SAVED : (i + 1) * SAVED], other) for i, other in enumerate(ctx.made)]
        flags = _wanted(ctx)
        wanted = Wanted(flags[:INPUTS], flags[INPUTS], any(flags[INPUTS + 1 :]))
        cell, others = ctx.cell, ctx.others
        others.gradients = []
        grouped = cell.parts.grouped(stacks)
        job = Backward(cell.plan, brought, visits, weights, grouped, ctx.batch, others.backward)
        found = job.run(grad, wanted)
        mixing = torch.cat(found.mixing) if wanted.mixing else None
        if not wanted.parameters:
            return None, None, None, *found.inputs, mixing, *[None] * (len(flags) - INPUTS - 1)
        groups = found.depthwise, found.pointwise, found.reduce
        stacks = [torch.cat(slices) for group in groups for slices in zip(*group, strict=True)]
        stacks += [gradient for each in found.preprocess for gradient in each]
        return None, None, None, *found.inputs, mixing, *cell.parts.as_stored(stacks), *others.gradients


def _wanted(ctx: Any) -> list[bool]:
    """Whether this backward pass needs the gradient of each tensor. needs_input_grad alone says what requires one: an
    architecture step asks for those of α only, in a network whose parameters all require gradients."""
    return [
        need and (type(node).__name__ == "AccumulateGrad" or torch._C._will_engine_execute_node(node))
        for need, (node, _) in zip(ctx.needs_input_grad[3:], ctx.next_functions, strict=True)
    ]


def _flat(visit: Visit) -> list[Tensor | None]:
    pools = visit.state, visit.most, visit.average, visit.index
    return [*pools, *visit.first, *visit.second, visit.reduced, visit.mean, visit.rstd]


def _visit(saved: Sequence[Tensor], other: Sequence[Sequence[Tensor]]) -> Visit:
    state, most, average, index, *stages, reduced, mean, rstd = saved
    first, second = stages[: len(FIRST)], stages[len(FIRST) :]
    return Visit(state, most, average, index, first, second, reduced, mean, rstd, other)
