"""The batch normalisations of a cell as one table, and their running statistics.

Legend: E edges sorted by source, K operations, C channels. A table [E, K + 2, C] has a column for every operation and
for the first stages of the separable convolutions (see fused_plan.Visit).
"""

from collections.abc import Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn

from ddarts.ops.normalization import move_running

SETTINGS = itemgetter("training", "track_running_stats", "momentum", "eps")


class Norms:
    """The BN modules of a cell: modules[i] belongs to line places[i] of the table, flattened; shape: (E, K + 2).

    Where they are alike, the first one's settings are those of all.
    """

    def __init__(self, modules: Sequence[nn.BatchNorm2d], places: Sequence[int], shape: tuple[int, int]) -> None:
        self.modules, self.places, self.shape = list(modules), list(places), shape

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

    def given(self) -> tuple[Tensor, Tensor]:
        """The running statistics as a table: mean and rstd, 0 and 1 where there is no BN."""
        rows = torch.tensor(self.places, device=next(self.modules[0].buffers()).device)
        found = []
        for name, neutral in (("running_mean", 0.0), ("running_var", 1.0)):
            values = torch.stack([getattr(module, name) for module in self.modules])
            if name == "running_var":
                values = (values + self.eps).rsqrt()
            table = values.new_full((*self.shape, values.shape[1]), neutral)
            table.flatten(0, 1).index_copy_(0, rows, values)
            found.append(table)
        return found[0], found[1]

    def move(self, mean: Tensor, rstd: Tensor, count: int) -> None:
        """Step the running statistics, if they are tracked, towards those of a batch with `count` values a channel."""
        move_running(self.modules, mean.flatten(0, 1)[self.places], rstd.flatten(0, 1)[self.places], count)
