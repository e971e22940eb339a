"""Training steps whose weights DeepSpeed steps."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ddarts.runtime.ranks.engines import WeightEngine
from ddarts.runtime.ranks.group import Group
from ddarts.train.step import Stepper


class DeepSpeedStepper(Stepper):
    """As `Stepper`, but the gradients and the loss scale are the engine's, and the host waits at every step to see
    whether they are sound."""

    def __init__(self, model: nn.Module, engine: WeightEngine, group: Group, **options: Any) -> None:
        unscaled = torch.amp.GradScaler(group.device.type, enabled=False)
        super().__init__(model, engine.forward, engine.optimizer, unscaled, nullcontext, group=group, **options)
        self.engine, self._waits = engine, True

    def state_dict(self) -> dict[str, Any]:
        """As `Stepper`'s, so that either continues what the other began. Collective."""
        scale = self.engine.scale
        scaler = {"scale": scale.value, "_growth_tracker": scale.good} if scale.enabled else {}
        return {"optimizer": self.engine.state_dict(), "scaler": scaler, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Stepper."""
        self.engine.load_state_dict(state["optimizer"])
        self.skipped.copy_(state["skipped"])
        if self.engine.scale.enabled and state["scaler"]:
            self.engine.scale.value, self.engine.scale.good = (
                state["scaler"]["scale"],
                state["scaler"]["_growth_tracker"],
            )

    @property
    def scales(self) -> bool:
        """See Stepper."""
        return self.engine.scale.enabled

    def _backward(self, total: Tensor, last: bool) -> None:
        self.engine.backward(total, last=last)

    def _reduce(self, *seen: Tensor) -> list[Tensor]:
        norm, means = self.engine.reduce(*seen)
        return [norm, *means]

    def _update(self, norm: Tensor, number: int) -> None:
        overflow = ~torch.isfinite(norm)
        if not self.scales:
            self._note(overflow, number)
        self.skipped += overflow
        if overflow:
            self.engine.skip()
        else:
            self.engine.step(norm)
        self.engine.scale.update(bool(overflow))
