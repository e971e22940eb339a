"""A derived cell in training, executed by source state: the same function as cell.py in fewer passes over memory.

All separable and dilated convolutions that read a state run in one call, a node is summed in one pass that applies
their BN, and what several edges read without weights (pools) is computed once. Modules, and with them parameters and
state dictionaries, are those of the cell; hooks on the layers of a separable convolution are not called.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddarts.genotype.schema import Gene
from ddarts.network.drop_path import drop_path
from ddarts.network.fused_convolutions import Branches, Stage, Statistics, branches
from ddarts.network.fused_sum import Affine, Term, node_sum
from ddarts.network.wiring import Plan
from ddarts.ops.normalization import move_running
from ddarts.space.topology import INPUTS

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
SEPARABLE = ("sep_conv", "dil_conv")
_STAGE = 4  # layers of a stage: ReLU and those of Layers
_SETTINGS = attrgetter("training", "affine", "track_running_stats", "momentum", "eps")


class Layers(NamedTuple):
    """The layers of a stage that have weights."""

    depthwise: nn.Conv2d
    pointwise: nn.Conv2d
    norm: nn.BatchNorm2d

    def weights(self) -> Stage:
        """The weights as they are now."""
        return Stage(self.depthwise.weight, self.pointwise.weight, self.norm.weight, self.norm.bias)


class FusedCell:
    """Runs the operations of a cell: `edges`, a module for each gene of its `steps`."""

    def __init__(self, steps: Plan, edges: Mapping[Gene, nn.Module]) -> None:
        self.steps = steps
        self.inputs = [State(_leaving(steps, source), edges) for source in range(INPUTS)]
        self.nodes = [State(_leaving(steps, node), edges) for node, _ in steps]
        self.norms = [norm for state in (*self.inputs, *self.nodes) for norm in state.norms]

    def takes(self, x: Tensor) -> bool:
        """Whether this computes what the modules would from a state `x`: in training, on the CPU, not while a compiler
        looks at it, and only while all BN modules have the same settings."""
        return (
            x.device.type == "cpu"
            and x.dtype in DTYPES
            and not torch.compiler.is_compiling()
            and bool(self.norms)
            and len(set(map(_SETTINGS, self.norms))) == 1
            and self.norms[0].training
            and self.norms[0].momentum is not None
        )

    def forward(self, s0: Tensor, s1: Tensor, keep: Tensor | None) -> list[Tensor]:
        """States 0 and 1 → the nodes in order of computation. keep: probability that a node's sum survives."""
        terms: dict[Gene, Term] = {}
        seen: list[Statistics] = []
        made: list[Tensor] = []
        for state, x in zip(self.inputs, (s0, s1), strict=True):
            state.leave(x, terms, seen)
        for state, (_, genes) in zip(self.nodes, self.steps, strict=True):
            total = node_sum([terms.pop(gene) for gene in genes])
            made.append(total if keep is None else drop_path(total, keep))
            state.leave(made[-1], terms, seen)
        mean, rstd = (torch.stack(values) for values in zip(*seen, strict=True))
        move_running(self.norms, mean, rstd, made[0].numel() // max(1, made[0].shape[1]))
        return made


class State:
    """What leaves one state: `genes`, all with this source."""

    def __init__(self, genes: Sequence[Gene], edges: Mapping[Gene, nn.Module]) -> None:
        self.separable = {gene: _stages(edges[gene]) for gene in genes if gene.op.startswith(SEPARABLE)}
        self.others = {gene: edges[gene] for gene in genes if gene not in self.separable}
        self.norms = [layers.norm for stages in self.separable.values() for layers in stages]
        if self.separable:
            first = [stages[0] for stages in self.separable.values()]
            self.plan = Branches(
                dilation=tuple(layers.depthwise.dilation[0] for layers in first),
                stages=tuple(map(len, self.separable.values())),
                node=tuple(gene.to for gene in self.separable),
                stride=first[0].depthwise.stride[0],
                eps=first[0].norm.eps,
            )

    def leave(self, x: Tensor, terms: dict[Gene, Term], seen: list[Statistics]) -> None:
        """Add what every gene makes of the state x [N, C, H, W], and the statistics of `norms` in their order."""
        if self.separable:
            weights = [w for stages in self.separable.values() for layers in stages for w in layers.weights()]
            made, statistics = branches(self.plan, x, weights)
            for (gene, stages), y, found in zip(self.separable.items(), made, statistics, strict=True):
                norm, (mean, rstd) = stages[-1].norm, found[-1]
                terms[gene] = Term(y, Affine(mean, rstd * norm.weight.detach(), norm.bias.detach()))
                seen += found
        shared: dict[str, Tensor] = {}
        for gene, module in self.others.items():
            if next(module.parameters(), None) is not None:
                terms[gene] = Term(module(x))
                continue
            if gene.op not in shared:
                shared[gene.op] = module(x)
            terms[gene] = Term(shared[gene.op])


def _leaving(steps: Plan, source: int) -> list[Gene]:
    return [gene for _, genes in steps for gene in genes if gene.source == source]


def _stages(branch: nn.Module) -> list[Layers]:
    layers: list[Any] = list(branch.get_submodule("op").children())
    return [Layers(*layers[i + 1 : i + _STAGE]) for i in range(0, len(layers), _STAGE)]
