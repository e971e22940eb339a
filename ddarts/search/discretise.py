"""The network that a search has found so far: which operations stay, as a mask and as a genotype.

Shapes: S distinct cells, L cell positions, E edges, K operations.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddarts.genotype.parse import check_weights, invalid_cells
from ddarts.genotype.schema import Genotype
from ddarts.genotype.table import cells_of_table
from ddarts.ops import threshold
from ddarts.space.primitives import Space
from ddarts.space.topology import INPUTS
from ddarts.supernet.alphas import Alphas


@dataclass(frozen=True)
class ParseRule:
    """How α become a genotype: the space, the nodes of a cell, how many of them its output is made of, the method and
    its threshold."""

    space: Space
    steps: int
    multiplier: int
    method: str
    threshold: float

    def genotype(self, mixing: Tensor, name: str, reductions: tuple[int, ...]) -> tuple[Genotype | None, list[str]]:
        """The genotype of σ(α) [L, E, K], or None with a line for each cell that no network can be built of."""
        check_weights(mixing.cpu().numpy(), self.space, self.steps, "alphas")
        _, table, counts = threshold(mixing, self.steps, self.method, self.threshold)
        cells = cells_of_table(table.cpu().numpy(), counts.cpu().numpy(), self.space)
        problems = invalid_cells(cells, self.steps)
        if problems:
            return None, problems
        concat = tuple(range(INPUTS, self.steps + INPUTS))[-self.multiplier :]
        return Genotype(name, self.space.name, self.steps, concat, reductions, cells), []

    def kept(self, mixing: Tensor) -> list:
        """Which operations of σ(α) [L, E, K] stay, as nested lists of bool."""
        return threshold(mixing, self.steps, self.method, self.threshold)[0].tolist()


@torch.no_grad()
def mixing_of(alphas: Alphas) -> Tensor:
    """σ(α) of every cell position, [L, E, K]."""
    return alphas.per_position(alphas.mixing())


def mixing_array(alphas: Alphas) -> np.ndarray:
    """The same on the host."""
    return mixing_of(alphas).cpu().numpy()
