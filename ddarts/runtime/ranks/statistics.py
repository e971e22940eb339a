"""The running statistics of batch normalisation on several ranks.

Each rank normalises over its own batches and keeps the statistics of those. For evaluation and saving they are taken
together: the mean of the means, and the variance from the mean of E[x²], so that what ranks differ in counts as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ddarts.runtime.ranks.group import Group


class Statistics:
    """Those of a network's BN layers that keep any. The network's own stay local until `reduced` or `load`."""

    def __init__(self, network: nn.Module, group: Group) -> None:
        self.group = group
        named = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self._means = {f"{name}.running_mean": m.running_mean for name, m in named if m.running_mean is not None}
        self._vars = {f"{name}.running_var": m.running_var for name, m in named if m.running_var is not None}

    def reduce(self) -> dict[str, Tensor]:
        """The common statistics by their names in the network's state. Collective. Empty for one process."""
        if self.group.size == 1 or not self._means:
            return {}
        means, variances = list(self._means.values()), list(self._vars.values())
        squares = [variance + mean.square() for mean, variance in zip(means, variances, strict=True)]
        found = self.group.mean(*means, *squares)
        means, squares = found[: len(means)], found[len(means) :]
        variances = [(square - mean.square()).clamp_min(0) for mean, square in zip(means, squares, strict=True)]
        return dict(zip([*self._means, *self._vars], [*means, *variances], strict=True))

    @contextmanager
    def reduced(self) -> Iterator[None]:
        """The network has the common statistics inside, and its own again afterwards. Collective."""
        common = self.reduce()
        own = {name: self._buffer(name).clone() for name in common}
        self._write(common)
        try:
            yield
        finally:
            self._write(own)

    def gather(self) -> Tensor:
        """Every rank's own statistics [P, values], for a checkpoint that goes on with the same bits. Collective."""
        return self.group.gather(
            torch.cat([b.reshape(-1).double() for b in (*self._means.values(), *self._vars.values())])
        )

    def scatter(self, rows: Tensor) -> None:
        """Take back this rank's row of what `gather` gave."""
        buffers = [*self._means.values(), *self._vars.values()]
        parts = rows[self.group.rank].split([buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))

    def _buffer(self, name: str) -> Tensor:
        return self._means[name] if name in self._means else self._vars[name]

    def _write(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self._buffer(name).copy_(value)
