"""Whether all losses and gradients so far were finite, decided where they are: the host does not wait for its device.

The device leaves out the update of a step that was not sound, and all that follow, and remembers the first one until it
is asked. Optimizers must be fused: those ask `found` before they update.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ALPHA, WEIGHTS = 0, 1  # which of a step's updates


class Unsound(NamedTuple):
    """The first update that was left out: its step, ALPHA or WEIGHTS, and the loss."""

    step: int
    update: int
    loss: float


class Guard:
    """Of a search on one device."""

    def __init__(self, device: torch.device) -> None:
        self.found = torch.zeros((), device=device)  # 1 from the first unsound update on
        self._first = torch.zeros(len(Unsound._fields), dtype=torch.float64, device=device)

    def watch(self, *optimizers: torch.optim.Optimizer) -> None:
        """Let fused optimizers leave their updates out."""
        for optimizer in optimizers:
            optimizer.found_inf = self.found  # type: ignore[attr-defined]

    def note(self, loss: Tensor, norm: Tensor, step: Tensor | int, update: int) -> None:
        """Look at the loss and the gradient's norm of an update that comes next."""
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        new = bad & (self.found == 0)
        for place, value in enumerate(Unsound(step, update, loss)):  # type: ignore[arg-type]
            self._first[place].copy_(torch.where(new, value, self._first[place]))
        self.found.copy_(torch.maximum(self.found, bad.to(self.found.dtype)))

    def problem(self) -> Unsound | None:
        """The first update that was left out, if one was. The host waits."""
        found, step, update, loss = torch.cat([self.found.double()[None], self._first]).tolist()
        return Unsound(int(step), int(update), loss) if found else None
