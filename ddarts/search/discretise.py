"""The network that a search has found so far: which operations stay, as a mask and as a genotype.

Shapes: S distinct cells, L cell positions, E edges, K operations.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ddarts.genotype.parse import invalid_cells, keep_mask, parse
from ddarts.genotype.schema import Genotype
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

    def genotype(self, mixing: np.ndarray, name: str, reductions: tuple[int, ...]) -> tuple[Genotype | None, list[str]]:
        """The genotype of σ(α) [L, E, K], or None with a line for each cell that no network can be built of."""
        cells = parse(mixing, self.space, self.steps, self.method, self.threshold)
        problems = invalid_cells(cells, self.steps)
        if problems:
            return None, problems
        concat = tuple(range(INPUTS, self.steps + INPUTS))[-self.multiplier :]
        return Genotype(name, self.space.name, self.steps, concat, reductions, cells), []

    def kept(self, mixing: np.ndarray) -> list:
        """Which operations stay, as nested lists of bool [L][E][K]."""
        return keep_mask(mixing, self.space, self.steps, self.method, self.threshold).tolist()


def mixing_array(alphas: Alphas) -> np.ndarray:
    """σ(α) of every cell position, [L, E, K], on the host."""
    with torch.no_grad():
        return alphas.per_position(alphas.mixing()).cpu().numpy()
