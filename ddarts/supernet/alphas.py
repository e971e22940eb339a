"""Architecture parameters α: one set per distinct cell, stored as one stacked tensor.

Shapes: S distinct cells, L cell positions, E edges, K operations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Alphas(nn.Module):
    """Logits [S, E, K]. Nothing is shared between cells unless `sequence` says that positions share a set.

    Stacking makes one fused optimizer step of what are S independent optimizers: Adam and the cosine schedule
    act element by element, so the result is the same.
    """

    _sequence: Tensor

    def __init__(self, sequence: Sequence[int], edges: int, operations: int) -> None:
        super().__init__()
        self.sequence = tuple(sequence)
        self.register_buffer("_sequence", torch.tensor(self.sequence), persistent=False)
        self.logits = nn.Parameter(torch.zeros(max(self.sequence) + 1, edges, operations))

    @property
    def sets(self) -> int:
        """S, the number of distinct cells."""
        return len(self.logits)

    def positions(self, cell: int) -> tuple[int, ...]:
        """The positions of the network at which distinct cell `cell` stands, ascending."""
        return tuple(i for i, which in enumerate(self.sequence) if which == cell)

    def mixing(self) -> Tensor:
        """σ(α) of the distinct cells, [S, E, K]."""
        return torch.sigmoid(self.logits)

    def per_position(self, mixing: Tensor) -> Tensor:
        """Mixing weights [S, E, K] of distinct cells → [L, E, K] of cell positions."""
        return mixing[self._sequence]
