"""The batch normalisations of a cell as one table: running statistics, and the backward pass in coefficients.

Legend: E edges sorted by source, K operations, C channels. A table [E, K + 2, C] has a column for every operation and
for the first stages of the separable convolutions (see fused_plan.Visit).
"""

from collections.abc import Sequence
from operator import itemgetter

import torch
from torch import Tensor, nn

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

    @torch.no_grad()
    def move(self, mean: Tensor, rstd: Tensor, count: int) -> None:
        """Step the running statistics, if they are tracked, towards those of a batch with `count` values a channel."""
        if count == 1:
            raise ValueError("batch normalisation needs more than 1 value per channel when training: use more images")
        first = self.modules[0]
        if not first.track_running_stats:
            return
        assert first.momentum is not None  # see alike
        variance = (rstd.pow(-2) - first.eps).clamp_min(0) * (count / (count - 1))
        for name, table in (("running_mean", mean), ("running_var", variance)):
            lines = table.flatten(0, 1).unbind(0)
            running = [getattr(module, name) for module in self.modules]
            torch._foreach_lerp_(running, [lines[place] for place in self.places], first.momentum)
        torch._foreach_add_([n for module in self.modules if (n := module.num_batches_tracked) is not None], 1)


def coefficients(scale: Tensor, mean: Tensor, rstd: Tensor, sums: tuple[Tensor, Tensor] | None, count: int) -> Tensor:
    """BN's backward for ŷ = (y - mean)·rstd as dy = c[0]·g + c[1]·y + c[2], all [..., C] → c [..., 3, C].

    scale: the gradient of ŷ is scale·g. sums: Σ g and Σ g·ŷ over `count` values; None: the statistics are constants.
    """
    a = scale * rstd
    if sums is None:
        zero = torch.zeros_like(a)
        return torch.stack([a, zero, zero], dim=-2)
    b = a * rstd * sums[1] / -count
    return torch.stack([a, b, a * sums[0] / -count - b * mean], dim=-2)
