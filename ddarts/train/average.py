"""A moving average of a network's weights and statistics."""

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class MovingAverage(Generic[Module]):
    """After every step: average ← decay · average + (1 − decay) · weights; BN statistics too, counters as they are.

    `module` is a network of its own that carries the average, for measuring and saving.
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.decay = decay
        self.module: Module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take a step of `module` in. The host does not wait."""
        own, new = self.module.state_dict(), module.state_dict()
        floating = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floating], [new[name] for name in floating], 1 - self.decay)
        for name in own.keys() - set(floating):
            own[name].copy_(new[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The average, for a checkpoint."""
        return self.module.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self.module.load_state_dict(state)
