"""Whether α can move far enough in a search to be kept.

Adam moves a parameter by at most about its learning rate a step, so the sum of the learning rates over all steps bounds
how far α gets. An operation is kept from σ(α) ≥ threshold on: α ≥ 1.73 for 0.85.
"""

import math
from collections.abc import Sequence

from ddarts.runtime.schedule import cosine

SAFE = 3.0  # clear of the threshold 0.85, at 1.73
MARGIN = 1.0  # beyond the threshold, where that is higher


def travelled(steps_per_epoch: Sequence[int], start: float, end: float) -> float:
    """Σ of α's learning rate over all steps of a search with this many steps in each epoch."""
    epochs = len(steps_per_epoch)
    return sum(steps * cosine(epoch, epochs, start, end) for epoch, steps in enumerate(steps_per_epoch))


def needed(threshold: float) -> float:
    """How far α should be able to get: 3, or more for a high threshold."""
    return max(SAFE, math.log(threshold / (1 - threshold)) + MARGIN)


def warning(steps_per_epoch: Sequence[int], start: float, end: float, threshold: float = 0.85) -> str | None:
    """A line for a search whose α cannot pass the threshold, with learning rates that suffice; None if it can."""
    reach = travelled(steps_per_epoch, start, end)
    if reach >= needed(threshold):
        return None
    unit = travelled(steps_per_epoch, 1.0, 0.0)
    wanted = (needed(threshold) - travelled(steps_per_epoch, 0.0, end)) / unit
    digits = 1 - math.floor(math.log10(wanted))
    sufficient = math.ceil(wanted * 10**digits) / 10**digits
    return (
        f"α can move by about {reach:.2g} in {sum(steps_per_epoch)} steps, and {needed(threshold):.2g} is needed to "
        f"pass the threshold {threshold:g} safely: use --arch_learning_rate {sufficient:g} "
        f"--arch_learning_rate_min {end:g} or more, or more steps"
    )
