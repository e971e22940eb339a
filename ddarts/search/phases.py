"""The phases of a search: what a step does while weights pretrain alone, and what it does while α move too."""

from collections.abc import Callable, Iterator
from typing import Protocol

from ddarts.data.loader import Loader
from ddarts.runtime.parts import Batch
from ddarts.runtime.profiling import span
from ddarts.search.iteration import Iteration
from ddarts.search.reports import ArchitectureReport, WeightReport
from ddarts.search.schedule import Schedule

Reports = tuple[ArchitectureReport | None, WeightReport]


class Phase(Protocol):
    """What every step of some epochs does."""

    name: str
    validates: bool  # whether the α step sees a batch of the validation half

    def batches(self, batch: Batch) -> list[Batch]:
        """What a step takes: a batch of the training half, and what else there is."""
        ...

    def run(self, batches: list[Batch], number: int) -> Reports:
        """One iteration; `number` counts all steps of the run."""
        ...


class Pretraining:
    """Weights alone, under the α of the baseline."""

    name, validates = "pretraining", False

    def __init__(self, iteration: Iteration) -> None:
        self.iteration = iteration

    def batches(self, batch: Batch) -> list[Batch]:
        return [batch]

    def run(self, batches: list[Batch], number: int) -> Reports:
        return None, self.iteration.pretraining_step(batches[0], number)


class Bilevel:
    """α on a batch of the validation half, then the weights on one of the training half."""

    name, validates = "search", True

    def __init__(self, iteration: Iteration, valid: Iterator[Batch]) -> None:
        self.iteration, self.valid = iteration, valid

    def batches(self, batch: Batch) -> list[Batch]:
        return [batch, next(self.valid)]

    def run(self, batches: list[Batch], number: int) -> Reports:
        training, validation = batches
        with span("architecture step"):
            architecture = self.iteration.architecture_step(validation, number)
        with span("weight step"):
            return architecture, self.iteration.weight_step(training, number)


class SingleLevel:
    """α and weights together, on a batch of the training half."""

    name, validates = "search", False

    def __init__(self, iteration: Iteration) -> None:
        self.iteration = iteration

    def batches(self, batch: Batch) -> list[Batch]:
        return [batch]

    def run(self, batches: list[Batch], number: int) -> Reports:
        return self.iteration.joint_step(batches[0], number)


def phases(
    schedule: Schedule, iteration: Iteration, valid: Loader, taken: int, launched: Callable[[Phase], Phase]
) -> Callable[[int], Phase]:
    """A function from epochs to phases, for a run whose α have seen `taken` batches of the validation half. launched:
    how steps are launched (see replay)."""
    pretraining = launched(Pretraining(iteration))
    search = launched(
        SingleLevel(iteration) if schedule.config.single_level else Bilevel(iteration, endless(valid, taken))
    )
    return lambda epoch: pretraining if schedule.pretrains(epoch) else search


def endless(loader: Loader, start: int) -> Iterator[Batch]:
    """Batches of all epochs without end, from batch number `start` on."""
    epoch, batch = divmod(start, loader.batches_per_epoch)
    while True:
        yield from loader.epoch(epoch, start=batch)
        epoch, batch = epoch + 1, 0
