"""How far a search has moved from its baseline, epoch by epoch, and whether it still moves (article, section 4.4)."""

from dataclasses import replace

from torch import Tensor

from ddarts.genotype.distance import distance
from ddarts.genotype.schema import Genotype
from ddarts.search.discretise import ParseRule

FIRST_EPOCH = 5  # after pretraining
COMPARED = 4
TOLERANCE = 0.001


class Departure:
    """Distances between the baseline and the threshold_edge parse of σ(α), one an epoch from `first_epoch` on.

    The search has settled when the last distance is not 0 and lies within 0.001 of each of the four before it.
    Without a baseline nothing is measured.
    """

    def __init__(self, rule: ParseRule, baseline: Genotype | None, first_epoch: int) -> None:
        self.rule = replace(rule, method="threshold_edge")
        self.baseline = baseline
        self.first_epoch = first_epoch
        self.distances: list[float] = []

    def observe(self, epoch: int, mixing: Tensor) -> None:
        """Measure σ(α) [S, E, K] at the end of `epoch`."""
        if self.baseline is not None and epoch >= self.first_epoch:
            self.distances.append(distance(self.baseline, self.rule.parsed(mixing, "search")).distance)

    @property
    def latest(self) -> float | None:
        """The last distance measured, None where nothing is."""
        return self.distances[-1] if self.distances and self.baseline is not None else None

    @property
    def settled(self) -> bool:
        """Whether the search may stop."""
        before = self.distances[-COMPARED - 1 : -1]
        if not self.latest or len(before) < COMPARED:
            return False
        return all(abs(self.latest - distance) <= TOLERANCE for distance in before)
