"""The share of a step that is spent waiting for its batches: of a search step, and of a training step in every case."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ddarts_benchmarks import iterations, trainings
from ddarts_benchmarks.pipelines import Batch, Case, Epoch, contestants, epochs, image_set
from ddarts_benchmarks.registry import Settings
from ddarts_benchmarks.timing import spread

Shares = Mapping[str, Mapping[str, float]]  # by loader: min, median, max

logger = logging.getLogger("ddarts.benchmarks")

STEPS = 3  # whose waits are measured, after one that warms up
_SEARCH = {False: iterations.Case("ddarts", 64), True: iterations.Case("ddarts", 16, 4, 3)}
ARCH = "DD-cifar10"
_CHANNELS = {False: 16, True: 4}  # of the network that is trained
_PHOTOGRAPHS = 64  # from this side on the network has ImageNet's stem


def of_search(tree: Path, settings: Settings) -> Shares:
    """A search step waits for two batches, here from memory."""
    case = _SEARCH[settings.quick]
    source = Case("memory", case.side, case.batch, 2 * STEPS + 2, torch.get_num_threads())

    def step() -> Callable[[Sequence[Batch], int], object]:
        search = iterations.exact_iteration("ours", case, settings.device)

        def both(batches: Sequence[Batch], number: int) -> None:
            search.architecture_step(batches[0], number)
            search.weight_step(batches[1], number)

        return both

    found = _by_loader(source, tree, settings, 2, step)
    logger.info("waiting: measured on a search, %s", case)
    return found


def of_training(source: Case, tree: Path, settings: Settings) -> Shares:
    """A step of training a network of few channels: the smaller it is, the harder for the loaders."""
    case = trainings.Case(
        ARCH,
        source.batch,
        channels=_CHANNELS[settings.quick],
        side=source.side,
        dataset="imagenet" if source.side >= _PHOTOGRAPHS else "cifar10",
    )

    def step() -> Callable[[Sequence[Batch], int], object]:
        training = trainings.training("ours", case, settings.device)

        def one(batches: Sequence[Batch], _: int) -> object:
            images, labels = batches[0]
            return training.step(images.contiguous(memory_format=training.layout), labels)

        return one

    found = _by_loader(replace(source, batches=STEPS + 1), tree, settings, 1, step)
    logger.info("waiting: measured on a training, %s", source)
    return found


def _by_loader(
    source: Case,
    tree: Path,
    settings: Settings,
    count: int,
    make: Callable[[], Callable[[Sequence[Batch], int], object]],
) -> Shares:
    """The shares of steps that take a batch from each of `count` streams."""
    images = image_set(source, tree)
    found = {}
    for name in contestants(source):
        streams = [_endless(epochs(name, source, images, settings.device)) for _ in range(count)]
        found[name] = _shares(make(), streams, settings.device)
    return found


def _endless(epoch: Epoch) -> Iterator[Batch]:
    for number in itertools.count():
        yield from epoch(number)


def _shares(
    step: Callable[[Sequence[Batch], int], object], streams: Sequence[Iterator[Batch]], device: torch.device
) -> dict[str, float]:
    shares = []
    for number in range(1 + STEPS):
        started = time.perf_counter()
        batches = [next(stream) for stream in streams]
        waited = time.perf_counter() - started
        step(batches, number)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        shares.append(waited / (time.perf_counter() - started))
    return spread(shares[1:])
