"""Contestants take turns (A B C, A B C, ...) in one process, so that a ratio compares neighbours in time: what else the
machine does slows both. On a GPU, CUDA events measure, and every step finds other buffers than the one before, together
larger than the L2 cache."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

Step = Callable[[], Any]
SHORTEST = 2e-3  # seconds of one measurement: shorter work is repeated, and the time divided
_CACHES = 2  # how many times the L2 cache the rotating buffers fill


@dataclass(frozen=True)
class Contestant:
    """A name, its work (the same on several sets of buffers), and the context in which it works."""

    name: str
    steps: Sequence[Step]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext


def take_turns(contestants: Sequence[Contestant], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of a step of each contestant in each round, by name. A round before the first warms up and counts not."""
    clock = _gpu_seconds if device.type == "cuda" else _cpu_seconds
    repeats = {}
    for contestant in contestants:
        with contestant.context():
            clock(_repeated(contestant.steps, len(contestant.steps)))
            once = clock(contestant.steps[0])
        repeats[contestant.name] = max(len(contestant.steps), math.ceil(SHORTEST / once))
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant in contestants:
            times = repeats[contestant.name]
            with contestant.context():
                seconds[contestant.name].append(clock(_repeated(contestant.steps, times)) / times)
    return seconds


def _repeated(steps: Sequence[Step], times: int) -> Step:
    def run() -> None:
        for step in itertools.islice(itertools.cycle(steps), times):
            step()

    return run


def _cpu_seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _gpu_seconds(step: Step) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def buffer_sets(nbytes: int, device: torch.device) -> int:
    """How many sets of buffers of `nbytes` must take turns so that none is still in the GPU's L2 cache; 1 on a CPU,
    where a network too finds in the cache what was just written."""
    if device.type != "cuda":
        return 1
    return 1 + math.ceil(_CACHES * torch.cuda.get_device_properties(device).L2_cache_size / nbytes)


def spread(values: Sequence[float]) -> dict[str, float]:
    """min, median and max."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """Spread of the ratio within each round."""
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)])
