"""The modules of a cell in the order in which it is executed: convolutions by stage, a line of a BN table for each BN.

Plain lists: the modules are registered in the cell already. Legend: see fused_plan.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ddarts.space.blocks import FactorizedReduce
from ddarts.supernet.fused_norms import Norms
from ddarts.supernet.fused_plan import AVERAGE, FIRST, FUSED, MAX, SECOND, SKIP, CellPlan, Stacks

STAGES = (*FIRST, *SECOND)
Edge = Mapping[str, nn.Module]


class CellModules:
    """edges: the operations of every edge by name, edges sorted by source; inputs: the preprocessing of both states."""

    def __init__(self, plan: CellPlan, edges: Sequence[Edge], inputs: Sequence[nn.Module]) -> None:
        self.others = [[edge[name] for name in plan.others] for edge in edges]
        stages = [[_layers(edge, kind.operation) for edge in edges] for kind in STAGES]
        self._depthwise, self._pointwise = (
            [[layers[kind.place + i] for layers in branch] for kind, branch in zip(STAGES, stages, strict=True)]
            for i in range(2)
        )
        strided = [edge[SKIP] for edge in edges if isinstance(edge[SKIP], FactorizedReduce)]
        self._reduce = [list(pair) for pair in zip(*map(_convolutions, strided), strict=True)]
        self._inputs = [_convolutions(module) for module in inputs]
        lines: list[Any] = []
        for edge in edges:
            lines += [*(_norm(name, edge[name]) for name in plan.operations), *_inner(edge)]
        lines += [module.bn if isinstance(module, FactorizedReduce) else _sequence(module)[-1] for module in inputs]
        self.norms = Norms(lines, (len(edges), len(plan.operations) + len(SECOND)))

    @property
    def inference(self) -> bool:
        """Whether the parameters were made in inference mode: no view of them can be differentiated."""
        return weight_of(self._depthwise[0][0]).is_inference()

    def stacks(self) -> list[Tensor]:
        """The parameters of all edges, stacked, and those of the inputs, in torch's layout."""
        stacks = [
            torch.stack([weight_of(module) for module in modules])
            for group in (self._depthwise, self._pointwise, self._reduce)
            for modules in group
        ]
        return stacks + [weight_of(module)[None] for modules in self._inputs for module in modules]

    def as_read(self, stacks: Sequence[Tensor]) -> list[Tensor]:
        """As the operators read them: depthwise [E, K, K, C], pointwise [E, C, C] (in, out), others (out, in)."""
        cut = len(STAGES)
        found = [w.squeeze(2).permute(0, 2, 3, 1).contiguous() for w in stacks[:cut]]
        found += [w.flatten(2).mT.contiguous() for w in stacks[cut : 2 * cut]]
        return found + [w.flatten(2) for w in stacks[2 * cut :]]

    def as_stored(self, stacks: Sequence[Tensor]) -> list[Tensor]:
        """The opposite of as_read; every slice is dense in its parameter's order."""
        cut = len(STAGES)
        found = [w.permute(0, 3, 1, 2).unsqueeze(2).contiguous() for w in stacks[:cut]]
        found += [w.mT.contiguous()[..., None, None] for w in stacks[cut : 2 * cut]]
        return found + [w[..., None, None] for w in stacks[2 * cut :]]

    def grouped(self, stacks: Sequence[Tensor]) -> Stacks:
        """The list of as_read by what it holds."""
        parts = iter(stacks)

        def take(count: int) -> list[Tensor]:
            return [next(parts) for _ in range(count)]

        kinds, inputs = len(STAGES), [len(modules) for modules in self._inputs]
        return Stacks(take(kinds), take(kinds), take(len(self._reduce)), [take(count) for count in inputs])


def weight_of(module: nn.Module) -> Tensor:
    """Its weight, past Module's look-up."""
    return vars(module)["_parameters"]["weight"]


def _sequence(module: Any) -> nn.Sequential:
    return module.op


def _layers(edge: Edge, name: str) -> nn.Sequential:
    return _sequence(edge[name])


def _convolutions(module: nn.Module) -> list[nn.Module]:
    """Of a factorised reduction or a ReLUConvBN."""
    if isinstance(module, FactorizedReduce):
        return [module.conv_1, module.conv_2]
    return [_sequence(module)[1]]


def _norm(name: str, module: Any) -> nn.BatchNorm2d | None:
    """The BN that an operation ends in, if it is fused and has one."""
    if name in (MAX, AVERAGE):
        return module[1]
    if name == SKIP:
        return getattr(module, "bn", None)
    return module.op[-1] if name in FUSED else None


def _inner(edge: Edge) -> Iterator[nn.Module]:
    """The BN between the two stages of the separable convolutions."""
    for kind in SECOND:
        yield _layers(edge, kind.operation)[kind.place - 2]
