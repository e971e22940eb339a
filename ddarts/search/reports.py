"""What the steps of an iteration saw, on the device. Shapes: S distinct cells."""

from dataclasses import dataclass

from torch import Tensor

from ddarts.search.losses import Contributions


@dataclass(frozen=True)
class ArchitectureReport:
    """What an architecture step saw: `ce` scalar, `zero_one` per distinct cell [S], `found` None without ablations."""

    ce: Tensor
    zero_one: Tensor
    found: Contributions | None


@dataclass(frozen=True)
class WeightReport:
    """What a weight step saw: `ce` scalar, `correct` the number of images classified right, `gradient_norm` before
    clipping."""

    ce: Tensor
    correct: Tensor
    gradient_norm: Tensor
