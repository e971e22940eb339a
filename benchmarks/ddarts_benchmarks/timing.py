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


def take_turns(
    contestants: Sequence[Contestant], rounds: int, device: torch.device, *, warm: bool = False
) -> dict[str, list[float]]:
    """Seconds of a step of each contestant in each round, by name. What comes before the first round warms up;
    contestants that are `warm` already, and long, run once a round and no more."""
    clock = _gpu_seconds if device.type == "cuda" else _cpu_seconds
    position = itertools.count()  # of all contestants: none finds the buffers that the one before it has just used

    def measure(contestant: Contestant, times: int) -> float:
        chosen = [contestant.steps[next(position) % len(contestant.steps)] for _ in range(times)]
        with contestant.context():
            return clock(chosen) / times

    repeats = [1] * len(contestants)
    if not warm:
        for contestant in contestants:
            measure(contestant, 1)
        repeats = [math.ceil(SHORTEST / measure(contestant, 1)) for contestant in contestants]
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant, times in zip(contestants, repeats, strict=True):
            seconds[contestant.name].append(measure(contestant, times))
    return seconds


def _cpu_seconds(steps: Sequence[Step]) -> float:
    start = time.perf_counter()
    for step in steps:
        step()
    return time.perf_counter() - start


def _gpu_seconds(steps: Sequence[Step]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for step in steps:
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
