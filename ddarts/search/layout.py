"""What cells a search network is made of, and where its α start: at 0, or at a handcrafted baseline.

Shapes: S distinct cells, L cell positions, E edges, K operations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddarts.config.search import SearchConfig
from ddarts.genotype import zoo
from ddarts.genotype.liveness import chained
from ddarts.genotype.schema import Genotype
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.search.reach import BASELINE_ALPHA
from ddarts.space.primitives import DARTOPTI, DDARTS, Space
from ddarts.space.topology import default_reductions, edge_index, num_edges


@dataclass(frozen=True)
class Layout:
    """`sequence[i]` says which of the S distinct cells stands at position i; `baseline` is what α start from."""

    space: Space
    steps: int
    multiplier: int
    reductions: tuple[int, ...]
    sequence: tuple[int, ...]
    baseline: Genotype | None = None

    @property
    def layers(self) -> int:
        """L, the number of cell positions."""
        return len(self.sequence)

    @property
    def shared(self) -> tuple[int, ...] | None:
        """The sequence as genotypes have it: None where every position has a cell of its own."""
        return None if self.sequence == tuple(range(self.layers)) else self.sequence

    def start(self) -> Tensor:
        """α at the start, [S, E, K]: 10 for the operations of the baseline, 0 elsewhere."""
        logits = torch.zeros(max(self.sequence) + 1, num_edges(self.steps), len(self.space))
        for index, cell in enumerate(self.baseline.cells if self.baseline else ()):
            for gene in cell:
                row = edge_index(gene.to, gene.source)
                logits[index, row, self.space.operations.index(gene.op)] = BASELINE_ALPHA
        return logits


def layout_of(config: SearchConfig) -> Layout:
    """The layout that `config` asks for. UsageError, DdartsError: a baseline that is not there or does not fit."""
    if config.arch_baseline is None:
        assert config.layers is not None and config.steps is not None
        reductions, sequence = default_reductions(config.layers), tuple(range(config.layers))
        return Layout(DDARTS, config.steps, config.multiplier, reductions, sequence)
    found = zoo.baseline(config.arch_baseline, config.baselines)
    _check(found, config)
    baseline = chained(found) if config.baseline_wiring == "chain" else found
    sequence = baseline.sequence or tuple(range(baseline.layers))
    return Layout(DARTOPTI, baseline.steps, config.multiplier, baseline.reductions, sequence, baseline)


def _check(baseline: Genotype, config: SearchConfig) -> None:
    if config.multiplier > baseline.steps:
        raise UsageError(
            f"--multiplier {config.multiplier}: must be at most the number of nodes of a cell, which is "
            f"{baseline.steps} in {config.arch_baseline}"
        )
    unused = set(range(len(baseline.cells))) - set(baseline.sequence or range(len(baseline.cells)))
    if unused:
        raise DdartsError(
            f"--arch_baseline {config.arch_baseline}: cell {min(unused)} stands nowhere in its sequence; take it out"
        )
    for index, cell in enumerate(baseline.cells):
        foreign = next((gene for gene in cell if gene.op not in DARTOPTI.operations), None)
        if foreign:
            raise DdartsError(
                f"--arch_baseline {config.arch_baseline}: cell {index}: node {foreign.to}: {foreign.op} is not one of "
                f"the {len(DARTOPTI)} operations that are searched: {', '.join(DARTOPTI.operations)}"
            )
