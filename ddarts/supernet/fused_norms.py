"""The batch normalisations of a cell as one table, and their running statistics.

Legend: E edges sorted by source, K operations, C channels. The table [E, K + 2, C] has a column for every operation and
for the first stages of the separable convolutions (see fused_plan.Visit); two more lines [2, C] are the inputs'.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddarts.ops.normalization import move_running
from ddarts.runtime.rows import rows_on
from ddarts.space.topology import INPUTS

SETTINGS = itemgetter("training", "track_running_stats", "momentum", "eps")


class Lines(NamedTuple):
    """Statistics as a table [E, K + 2, C], and those of the inputs [2, C]."""

    edges: Tensor
    inputs: Tensor


class Norms:
    """The BN modules of a cell, line by line (None: no BN there), edges' table first; shape: (E, K + 2).

    Where they are alike, the first one's settings are those of all.
    """

    def __init__(self, lines: Sequence[Any], shape: tuple[int, int]) -> None:
        self.shape = shape
        self.places = tuple(place for place, norm in enumerate(lines) if norm is not None)
        self.modules = [lines[place] for place in self.places]

    @property
    def alike(self) -> bool:
        """Whether all have the same settings, with a momentum that is a number. Asked in every pass, hence cheap."""
        return self.modules[0].momentum is not None and len(set(map(SETTINGS, map(vars, self.modules)))) == 1

    @property
    def eps(self) -> float:
        """Added to every variance."""
        return self.modules[0].eps

    @property
    def batch(self) -> bool:
        """Whether the statistics of the batch are used."""
        return self.modules[0].training

    def given(self) -> tuple[Lines, Lines]:
        """The running statistics: mean and rstd, 0 and 1 where there is no BN."""
        rows = rows_on(self._buffers("running_mean")[0].device, self.places)
        edges, columns = self.shape
        found = []
        for name, neutral in (("running_mean", 0.0), ("running_var", 1.0)):
            values = torch.stack(self._buffers(name))
            if name == "running_var":
                values = (values + self.eps).rsqrt()
            table = values.new_full((edges * columns + INPUTS, values.shape[1]), neutral).index_copy_(0, rows, values)
            found.append(Lines(table[:-INPUTS].view(edges, columns, -1), table[-INPUTS:]))
        return found[0], found[1]

    def move(self, mean: Lines, rstd: Lines, count: Sequence[int]) -> None:
        """Step the running statistics, if they are tracked, towards those of a batch with so many values a channel (of
        the edges' outputs, of the inputs)."""
        lines = rows_on(mean.edges.device, self.places[:-INPUTS])
        means, rstds = (values.edges.flatten(0, 1).index_select(0, lines) for values in (mean, rstd))
        move_running(self.modules[:-INPUTS], means, rstds, count[0])
        move_running(self.modules[-INPUTS:], mean.inputs, rstd.inputs, count[1])

    def _buffers(self, name: str) -> list[Tensor]:
        """Of all modules, past Module's look-up."""
        return [vars(module)["_buffers"][name] for module in self.modules]
