"""Running means of what a run observes, kept on the device so that no step waits for the host."""

from typing import Any

import torch
from torch import Tensor


class RunningMeans:
    """Means by name over the steps since `clear`; values are tensors of any shape (or numbers), summed in float64."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, weight: float = 1.0, **values: Tensor | float) -> None:
        """Count `values` with `weight` (a batch's number of images, say)."""
        for name, value in values.items():
            summand = torch.as_tensor(value).detach().double() * weight
            self._sums[name] = self._sums[name] + summand if name in self._sums else summand
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def mean(self, name: str) -> Any:
        """The mean of `name`: a float, or nested lists for a tensor; 0 where nothing was counted. The host waits."""
        if name not in self._sums:
            return 0.0
        return (self._sums[name] / self._weights[name]).tolist()

    def all(self) -> dict[str, Any]:
        """Every mean by name."""
        return {name: self.mean(name) for name in self._sums}

    def clear(self) -> None:
        """Start over."""
        self._sums.clear()
        self._weights.clear()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"sums": dict(self._sums), "weights": dict(self._weights)}

    def load(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Take back what `state` gave."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._weights = dict(state["weights"])
