"""Whether α can move far enough in a search to be kept.

Adam moves a parameter by at most about its learning rate a step, so the sum of the learning rates over all steps bounds
how far α gets. An operation is kept from σ(α) ≥ threshold on: α ≥ 1.73 for 0.85. A search that starts from a baseline
has α = 10 at its operations: these are dropped only where α can fall by 8.27.
"""

import math
from collections.abc import Sequence

from ddarts.config.search import SearchConfig
from ddarts.search.schedule import Schedule

SAFE = 3.0  # clear of the threshold 0.85, at 1.73
MARGIN = 1.0  # beyond the threshold, where that is higher
BASELINE_ALPHA = 10.0  # where α start at the operations of a baseline; σ(10) = 0.99995
Stretches = Sequence[tuple[int, float]]  # steps of α in each epoch, and where its rate stands between end (0) and start


def of_search(config: SearchConfig, per_epoch: int, total: int) -> str | None:
    """The warning for a search of `total` steps, `per_epoch` in each epoch, or None."""
    return warning(
        Schedule(config).alpha_steps(per_epoch, total),
        config.arch_learning_rate,
        config.arch_learning_rate_min,
        config.op_threshold,
        BASELINE_ALPHA if config.arch_baseline else None,
    )


def travelled(stretches: Stretches, start: float, end: float) -> float:
    """Σ of α's learning rate over all steps of a search."""
    return sum(steps * (end + (start - end) * share) for steps, share in stretches)


def needed(threshold: float) -> float:
    """How far α should be able to get: 3, or more for a high threshold."""
    return max(SAFE, math.log(threshold / (1 - threshold)) + MARGIN)


def warning(
    stretches: Stretches, start: float, end: float, threshold: float = 0.85, baseline_alpha: float | None = None
) -> str | None:
    """A line for a search whose α cannot pass the threshold, with learning rates that suffice, or (with the α at which
    a baseline's operations start) whose α cannot fall below it; None if they can."""
    steps, reach = sum(count for count, _ in stretches), travelled(stretches, start, end)
    if steps == 0:
        return "α do not move: every step belongs to pretraining; take more steps, or fewer --pretrain_epochs"
    wanted = needed(threshold)
    if reach < wanted:
        return (
            f"α can move by about {reach:.2g} in {steps} steps, and {wanted:.2g} is needed to pass the threshold "
            f"{threshold:g} safely: use {_sufficient(stretches, end, wanted)} or more, or more steps"
        )
    fall = 0.0 if baseline_alpha is None else baseline_alpha - math.log(threshold / (1 - threshold))
    if reach < fall:
        return (
            f"operations can be added to the baseline, but none of its own can be dropped: α can move by about "
            f"{reach:.2g} in {steps} steps, and {fall:.2g} is needed from α = {baseline_alpha:g} down to the threshold "
            f"{threshold:g}: {_sufficient(stretches, end, fall)} or more would do"
        )
    return None


def _sufficient(stretches: Stretches, end: float, wanted: float) -> str:
    """The options, rounded up to two digits, with which α travel as far as `wanted`."""
    unit = travelled(stretches, 1.0, 0.0)
    if unit == 0:  # all steps are taken at the end's rate
        end = rate = _rounded_up(wanted / travelled(stretches, 1.0, 1.0))
    else:
        rate = _rounded_up((wanted - travelled(stretches, 0.0, end)) / unit)
    return f"--arch_learning_rate {rate:g} --arch_learning_rate_min {end:g}"


def _rounded_up(value: float) -> float:
    digits = 1 - math.floor(math.log10(value))
    return math.ceil(value * 10**digits) / 10**digits
