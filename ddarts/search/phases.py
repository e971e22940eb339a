"""The phases of a search: epochs on the weights alone where it starts from a baseline, then epochs that move α too.

A phase turns one training batch into steps; `Schedule` says which phase an epoch belongs to and how fast both move.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from ddarts.config.search import SearchConfig
from ddarts.data.loader import Loader
from ddarts.runtime.parts import Batch
from ddarts.runtime.profiling import span
from ddarts.runtime.schedule import cosine
from ddarts.search.iteration import ArchitectureReport, Iteration, WeightReport

Reports = tuple[ArchitectureReport | None, WeightReport]


class Phase(Protocol):
    """What every step of some epochs does."""

    name: str
    validates: bool  # whether the α step sees a batch of the validation half

    def step(self, batch: Batch, number: int) -> Reports:
        """One iteration on a batch of the training half; `number` counts all steps of the run."""
        ...


class Pretraining:
    """Weights alone, under the α of the baseline."""

    name, validates = "pretraining", False

    def __init__(self, iteration: Iteration) -> None:
        self.iteration = iteration

    def step(self, batch: Batch, number: int) -> Reports:
        return None, self.iteration.pretraining_step(batch, number)


class Bilevel:
    """α on a batch of the validation half, then the weights on one of the training half."""

    name, validates = "search", True

    def __init__(self, iteration: Iteration, valid: Iterator[Batch]) -> None:
        self.iteration, self.valid = iteration, valid

    def step(self, batch: Batch, number: int) -> Reports:
        with span("architecture step"):
            architecture = self.iteration.architecture_step(next(self.valid), number)
        with span("weight step"):
            return architecture, self.iteration.weight_step(batch, number)


class SingleLevel:
    """α and weights together, on a batch of the training half."""

    name, validates = "search", False

    def __init__(self, iteration: Iteration) -> None:
        self.iteration = iteration

    def step(self, batch: Batch, number: int) -> Reports:
        return self.iteration.joint_step(batch, number)


class Schedule:
    """Epochs of every phase and the learning rates in each epoch, counted from 0 over the whole run."""

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.pretraining = config.pretrain_epochs if config.arch_baseline else 0
        self.epochs = self.pretraining + config.epochs
        # The published program lets α's rate run along while the weights pretrain; past its end a cosine comes back.
        self._first_alpha_epoch = 0 if config.recipe == "official" else self.pretraining

    def pretrains(self, epoch: int) -> bool:
        """Whether the epoch moves the weights alone."""
        return epoch < self.pretraining

    def weight_rate(self, epoch: int) -> float:
        """Learning rate of the weights: one cosine over all epochs."""
        return cosine(epoch, self.epochs, self.config.learning_rate, self.config.learning_rate_min)

    def alpha_rate(self, epoch: int) -> float:
        """Learning rate of α: a cosine over the epochs that move them."""
        low, high = self.config.arch_learning_rate_min, self.config.arch_learning_rate
        return low + (high - low) * self.alpha_share(epoch)

    def alpha_share(self, epoch: int) -> float:
        """Where α's learning rate stands between its end, 0, and its start, 1."""
        period = self.config.epochs
        along = max(0, epoch - self._first_alpha_epoch) % (2 * period)
        return cosine(min(along, 2 * period - along), period, 1.0)

    def alpha_steps(self, per_epoch: int, total: int) -> list[tuple[int, float]]:
        """Steps of α in each epoch of a run of `total` steps, and `alpha_share` there."""
        epochs = range(self.pretraining, self.epochs)
        return [(max(0, min(per_epoch, total - e * per_epoch)), self.alpha_share(e)) for e in epochs]


def phases(schedule: Schedule, iteration: Iteration, valid: Loader, taken: int) -> Callable[[int], Phase]:
    """A function from epochs to phases, for a run whose α have seen `taken` batches of the validation half."""
    pretraining = Pretraining(iteration)
    search: Phase = (
        SingleLevel(iteration) if schedule.config.single_level else Bilevel(iteration, endless(valid, taken))
    )
    return lambda epoch: pretraining if schedule.pretrains(epoch) else search


def endless(loader: Loader, start: int) -> Iterator[Batch]:
    """Batches of all epochs without end, from batch number `start` on."""
    epoch, batch = divmod(start, loader.batches_per_epoch)
    while True:
        yield from loader.epoch(epoch, start=batch)
        epoch, batch = epoch + 1, 0
