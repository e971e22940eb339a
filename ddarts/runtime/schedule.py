"""Learning rates as functions of the epoch: nothing to save, nothing to step. [light]"""

import math
from typing import Any


def cosine(epoch: int, epochs: int, start: float, end: float = 0.0) -> float:
    """Half a cosine from `start` in epoch 0 towards `end`, which it would reach in epoch `epochs`."""
    return end + (start - end) * (1 + math.cos(math.pi * min(epoch, epochs) / epochs)) / 2


def set_learning_rate(optimizer: Any, rate: float) -> None:
    """Let the next steps of a torch optimizer use `rate`."""
    for group in optimizer.param_groups:
        set_rate(group, rate)


def set_rate(group: dict[str, Any], rate: float) -> None:
    """The same for one of its groups. A rate that lies in a tensor is changed in place."""
    if hasattr(group["lr"], "fill_"):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
