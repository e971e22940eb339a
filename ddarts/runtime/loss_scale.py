"""The loss scale of fp16 training where two optimizers must step, or not step, together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ddarts.runtime.errors import DivergedError

INITIAL, SMALLEST = 2.0**16, 1.0
GROWTH_INTERVAL = 2000


class LossScale:
    """Scales a loss so that fp16 gradients neither vanish nor overflow; does nothing unless enabled.

    After an overflow the scale is halved, after 2000 good updates doubled. `skipped` counts the updates left out,
    `good` those made since the last one.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.value = INITIAL if enabled else 1.0
        self.skipped = 0
        self.good = 0

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to differentiate."""
        return loss * self.value if self.enabled else loss

    def unscale(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """True gradients from those of the scaled loss."""
        return torch._foreach_mul(list(gradients), 1 / self.value) if self.enabled else gradients

    def update(self, overflowed: bool) -> None:
        """Learn from an update that was made, or left out since it overflowed. DivergedError at the smallest scale."""
        if not self.enabled:
            return
        if not overflowed:
            self.good += 1
            if self.good % GROWTH_INTERVAL == 0:
                self.value *= 2
            return
        self.good = 0
        self.skipped += 1
        self.value /= 2
        if self.value < SMALLEST:
            raise DivergedError("fp16 gradients overflow at every loss scale: use --precision bf16 or fp32")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"value": self.value, "skipped": self.skipped, "good": self.good}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.value, self.skipped, self.good = state["value"], state["skipped"], state["good"]
