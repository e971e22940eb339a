"""One cell of the search network, executed by source state: the same function as supernet/reference.py in fewer passes
over memory. What edges read of a state is computed once, or for all edges that leave the state in one call.

Modules, and with them parameters, state dictionaries and checkpoints, are those of the reference.
Legend: see fused_plan.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ddarts.ops.weighted import under_autocast
from ddarts.space.primitives import Space
from ddarts.space.topology import INPUTS, rows_by_source
from ddarts.supernet.fused_backward import Backward, Wanted
from ddarts.supernet.fused_forward import Forward, Input
from ddarts.supernet.fused_norms import Norms
from ddarts.supernet.fused_others import OtherOperations, grouped
from ddarts.supernet.fused_plan import AVERAGE, FIRST, FUSED, MAX, SECOND, SKIP, CellPlan, Stacks, Visit, pixels
from ddarts.supernet.reference import Inputs, Keep, SearchCell

STAGES = (*FIRST, *SECOND)
DTYPES = (torch.float32, torch.float64)
SAVED = 13  # tensors of a Visit that are saved


class FusedCell(SearchCell):
    """A SearchCell that computes the edges from a state together.

    What is not fused runs as the reference does (see _fuses).
    """

    _held = False  # see hold_weights
    _returns = False  # see expect_return
    _kept: Sequence[Tensor] = ()  # stacks, while the weights are held
    _visits: Sequence[Visit] = ()
    _seen: tuple[Tensor, Tensor, Sequence[Visit]] | None = None  # input states, and what was made of them

    def __init__(self, space: Space, steps: int, multiplier: int, *channels: Any, reduction: bool, **rest: Any) -> None:
        super().__init__(space, steps, multiplier, *channels, reduction=reduction, **rest)
        self.plan = CellPlan(space.operations, steps, multiplier, reduction)
        self._fits = set(space.operations) >= FUSED
        if self._fits:
            self._collect()

    def _run(self, s0: Tensor, s1: Tensor, weights: Tensor, keep: Keep | None) -> Tensor:
        if keep is not None or not self._fuses(s0, weights):
            return super()._run(s0, s1, weights, keep)
        record = torch.is_grad_enabled()
        others = OtherOperations(self.plan, self._others, record)
        states = self.preprocess0(s0), self.preprocess1(s1)
        if not record:
            return self.execute(states, weights, self._stacks(), others)[0]
        # Views, because only of what is computed can a backward pass tell whether its gradient is asked for.
        parameters = [parameter.view_as(parameter) for parameter in others.parameters]
        out = _Differentiable.apply(self, others, *states, weights, *self._stacks(), *parameters)
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
            and not self._depthwise[0][0].weight.is_inference()
            and self.norms.alike
        )

    def execute(
        self, states: Sequence[Tensor], weights: Tensor, stacks: Sequence[Tensor], others: OtherOperations
    ) -> tuple[Tensor, list[Visit]]:
        """The cell's output, from the input states, and all that a backward pass needs; moves the running statistics
        as BN does."""
        job = self._job(weights[None], stacks, others)
        out, visits = job.run([Input(pixels(state)) for state in states])
        if job.given is None:
            mean, rstd = (torch.cat(tables, 1)[0] for tables in zip(*((v.mean, v.rstd) for v in visits), strict=True))
            self.norms.move(mean, rstd, out.numel() // max(1, out.shape[1]))
        return out, visits

    def run_groups(self, shared: tuple[Tensor, Tensor], own: Inputs, weights: Tensor) -> Tensor:
        """As SearchCell.run_groups, in one pass."""
        if not self._fuses(shared[0], weights):
            return super().run_groups(shared, own, weights)
        groups, images = len(weights), len(shared[0])
        job = self._job(weights, self._stacks(), OtherOperations(self.plan, self._others, record=False))
        inputs = []
        for source, (state, preprocess) in enumerate(zip(own, (self.preprocess0, self.preprocess1), strict=True)):
            count = 0 if state is None else len(state) // images
            mine = None if state is None else pixels(grouped(preprocess, state, count))
            inputs.append(Input(mine, self._known(source, shared, preprocess, job) if count < groups else None))
        return job.run(inputs)[0]

    def _known(self, source: int, states: tuple[Tensor, Tensor], preprocess: nn.Module, job: Forward) -> Visit:
        """What was made of an input state, or is now."""
        if self._seen is not None and self._seen[0] is states[0] and self._seen[1] is states[1]:
            return self._seen[2][source]
        return job.visit(source, pixels(preprocess(states[source])), 1)

    def _job(self, weights: Tensor, stacks: Sequence[Tensor], others: OtherOperations) -> Forward:
        given = None if self.norms.batch else self.norms.given()
        stacked = self.group(stacks)
        return Forward(self.plan, weights, stacked, given, others.forward, self.norms.eps, keep=others.record)

    def group(self, stacks: Sequence[Tensor]) -> Stacks:
        """The flat list of stacks by what they are."""
        cut = len(STAGES)
        return Stacks(stacks[:cut], stacks[cut : 2 * cut], stacks[2 * cut :])

    def _collect(self) -> None:
        """Finds the modules behind every stage and every line of the BN table. Plain lists, so that they are not
        registered a second time."""
        operations = self.plan.operations
        rows = rows_by_source(self.steps)
        edges: list[dict[str, Any]] = [
            {name: self._operation(row, k) for k, name in enumerate(operations)} for row in rows
        ]
        self._others = [[edge[name] for name in self.plan.others] for edge in edges]
        self._depthwise = [[edge[kind.operation].op[kind.place] for edge in edges] for kind in STAGES]
        self._pointwise = [[edge[kind.operation].op[kind.place + 1] for edge in edges] for kind in STAGES]
        strided = [edge[SKIP] for edge in edges if not isinstance(edge[SKIP], nn.Identity)]
        self._reduce = [[skip.conv_1 for skip in strided], [skip.conv_2 for skip in strided]] if strided else []
        lines = [line for edge in edges for line in (*(_norm(name, edge[name]) for name in operations), *_inner(edge))]
        found = [(place, norm) for place, norm in enumerate(lines) if norm is not None]
        shape = len(edges), len(operations) + len(SECOND)
        self.norms = Norms([norm for _, norm in found], [place for place, _ in found], shape)

    def hold_weights(self, held: bool) -> None:
        """As SearchCell.hold_weights: what passes without gradients stack is kept meanwhile."""
        self._held = held
        self._kept = ()
        if not held:
            self._returns, self._visits, self._seen = False, (), None

    def expect_return(self) -> None:
        """As SearchCell.expect_return: what the next pass makes of the input states is kept for run_groups."""
        self._returns = True

    def remember(self, visits: Sequence[Visit]) -> None:
        """Keep what was made of the input states, if passes with the same ones are to come."""
        if self._returns:
            self._visits = list(visits[:INPUTS])

    def _stacks(self) -> Sequence[Tensor]:
        """The parameters of all edges, stacked; made once for all passes without gradients while they are steady."""
        reuse = self._held and not torch.is_grad_enabled()
        if reuse and self._kept:
            return self._kept
        depthwise, pointwise, reduce = (
            [torch.stack([vars(module)["_parameters"]["weight"] for module in modules]) for modules in group]
            for group in (self._depthwise, self._pointwise, self._reduce)
        )
        stacks = [w.squeeze(2).permute(0, 2, 3, 1).contiguous() for w in depthwise]
        stacks += [w.flatten(2).mT.contiguous() for w in pointwise]
        stacks += [w.flatten(2) for w in reduce]
        if reuse:
            self._kept = stacks
        return stacks


class _Differentiable(torch.autograd.Function):
    """FusedCell.execute with a backward pass: (cell, its other operations, both states, mixing weights, stacks,
    parameters of the other operations) → output."""

    @staticmethod
    def forward(ctx: Any, cell: FusedCell, others: OtherOperations, *tensors: Tensor) -> Tensor:
        states, weights = tensors[:INPUTS], tensors[INPUTS]
        stacks = tensors[INPUTS + 1 : len(tensors) - len(others.parameters)]
        out, visits = cell.execute(states, weights, stacks, others)
        cell.remember(visits)
        ctx.cell, ctx.others, ctx.batch, ctx.stacks = cell, others, cell.norms.batch, len(stacks)
        ctx.made = [visit.other for visit in visits]
        ctx.save_for_backward(weights, *stacks, *(x for visit in visits for x in _flat(visit)))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *saved = ctx.saved_tensors
        stacks, saved = saved[: ctx.stacks], saved[ctx.stacks :]
        visits = [_visit(saved[i * SAVED : (i + 1) * SAVED], other) for i, other in enumerate(ctx.made)]
        flags = _wanted(ctx)
        wanted = Wanted(flags[:INPUTS], flags[INPUTS], any(flags[INPUTS + 1 :]))
        cell, others = ctx.cell, ctx.others
        others.gradients = []
        found = Backward(cell.plan, visits, weights, cell.group(stacks), ctx.batch, others.backward).run(grad, wanted)
        mixing = torch.cat(found.mixing) if wanted.mixing else None
        if not wanted.parameters:
            return None, None, *found.states, mixing, *[None] * (len(flags) - INPUTS - 1)
        groups = found.depthwise, found.pointwise, found.reduce
        parameters = [torch.cat(slices) for group in groups for slices in zip(*group, strict=True)]
        return None, None, *found.states, mixing, *parameters, *others.gradients


def _wanted(ctx: Any) -> list[bool]:
    """Whether this backward pass needs the gradient of each tensor. needs_input_grad alone says what requires one: an
    architecture step asks for those of α only, in a network whose parameters all require gradients."""
    return [
        need and (type(node).__name__ == "AccumulateGrad" or torch._C._will_engine_execute_node(node))
        for need, (node, _) in zip(ctx.needs_input_grad[2:], ctx.next_functions, strict=True)
    ]


def _flat(visit: Visit) -> list[Tensor | None]:
    pools = visit.state, visit.most, visit.average, visit.index
    return [*pools, *visit.first, *visit.second, visit.reduced, visit.mean, visit.rstd]


def _visit(saved: Sequence[Tensor], other: Sequence[Sequence[Tensor]]) -> Visit:
    state, most, average, index, *stages, reduced, mean, rstd = saved
    first, second = stages[: len(FIRST)], stages[len(FIRST) :]
    return Visit(state, most, average, index, first, second, reduced, mean, rstd, other)


def _norm(name: str, module: Any) -> nn.BatchNorm2d | None:
    """The BN that an operation ends in, if it is fused and has one."""
    if name in (MAX, AVERAGE):
        return module[1]
    if name == SKIP:
        return getattr(module, "bn", None)
    return module.op[-1] if name in FUSED else None


def _inner(edge: dict[str, Any]) -> list[nn.BatchNorm2d]:
    """The BN between the two stages of the separable convolutions."""
    return [edge[kind.operation].op[kind.place - 2] for kind in SECOND]
