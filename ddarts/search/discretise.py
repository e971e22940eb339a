"""The network that a search has found so far: which operations stay, as a mask and as a genotype.

Shapes: S distinct cells, L cell positions, E edges, K operations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ddarts.genotype.parse import check_weights, invalid_cells
from ddarts.genotype.schema import Genotype
from ddarts.genotype.table import cells_of_table
from ddarts.ops import threshold
from ddarts.search.layout import Layout
from ddarts.space.topology import nodes
from ddarts.supernet.alphas import Alphas


@dataclass(frozen=True)
class ParseRule:
    """How α become a genotype: what the cells are made of, the method and its threshold."""

    layout: Layout
    method: str
    threshold: float

    def genotype(self, mixing: Tensor, name: str) -> tuple[Genotype | None, list[str]]:
        """The genotype of σ(α) [S, E, K], or None with a line for each cell that no network can be built of."""
        found = self.parsed(mixing, name)
        problems = invalid_cells(found.cells, found.steps)
        return (None if problems else found), problems

    def parsed(self, mixing: Tensor, name: str) -> Genotype:
        """What is kept of σ(α) [S, E, K], whether or not a network can be built of it. Cells that positions share stay
        shared."""
        layout = self.layout
        check_weights(mixing.cpu().numpy(), layout.space, layout.steps, "alphas")
        _, table, counts = threshold(mixing, layout.steps, self.method, self.threshold)
        cells = cells_of_table(table.cpu().numpy(), counts.cpu().numpy(), layout.space)
        concat = tuple(nodes(layout.steps))[-layout.multiplier :]
        return Genotype(name, layout.space.name, layout.steps, concat, layout.reductions, cells, layout.shared)

    def kept(self, mixing: Tensor) -> list:
        """Which operations of σ(α) [S, E, K] stay at every position, as nested lists of bool [L][E][K]."""
        kept = threshold(mixing, self.layout.steps, self.method, self.threshold)[0].tolist()
        return [kept[cell] for cell in self.layout.sequence]


@torch.no_grad()
def mixing_of(alphas: Alphas) -> Tensor:
    """σ(α) of the distinct cells, [S, E, K]."""
    return alphas.mixing()
