"""`ddarts bench data`: training batches from memory and from JPEG files, by every loader, in turns.

Of every pass: wall time, and CPU time of this process and its children. And how long steps wait for them (waits.py).
"""

import itertools
import logging
import os
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddarts.runtime.availability import dali_problem
from ddarts_benchmarks import plots, waits
from ddarts_benchmarks.correct import WrongKernelError, failures
from ddarts_benchmarks.photographs import make_tree
from ddarts_benchmarks.pipelines import BASELINE, Case, Epoch, contestants, epochs, image_set
from ddarts_benchmarks.registry import Outcome, Settings
from ddarts_benchmarks.rows import Row, row
from ddarts_benchmarks.timing import ratios, spread

logger = logging.getLogger("ddarts.benchmarks")

FILES = 64  # JPEG files of each class, and the side of the largest
SIDE = 375
H100_SEARCH = 2 * 96 / 0.017  # images a second that a fused search on one H100 is expected to take: 2 x 96 in 17 ms
_FEW = 2  # batches that are compared before anything is timed
_ALLOWED = {"memory": 1e-4, "files": 0.05}  # mean difference of normalised pixels from our torchvision loader

Seconds = Mapping[str, Sequence[float]]


def cases(quick: bool, cores: int) -> list[Case]:
    """From memory and from files; one thread, and all; two sizes of batches."""
    if quick:
        return [Case("memory", 32, 32, 8, 1), Case("files", 64, 16, 2, 1)]
    threads = sorted({1, cores})
    from_memory = [Case("memory", 32, batch, 9600 // batch, t) for batch in (96, 256) for t in threads]
    return from_memory + [Case("files", 224, batch, 384 // batch, t) for batch in (48, 96) for t in threads]


def measure(settings: Settings) -> Outcome:
    """All cases, or with settings.quick small ones. WrongKernelError where a loader shows something else."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    problem = dali_problem()
    rows: list[Row] = []
    summaries: dict[str, dict[str, Any]] = {}
    training: dict[str, waits.Shares] = {}
    with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
        tree = make_tree(Path(folder), 8 if settings.quick else FILES, 1, SIDE)
        before = torch.get_num_threads()
        for case in cases(settings.quick, cores):
            torch.set_num_threads(case.threads)
            wall, cpu = _turns(case, tree, settings)
            rows += [_row("wall", case, name, wall) for name in wall] + [_row("cpu", case, name, cpu) for name in cpu]
            summaries[str(case)] = _summary(case, wall, cpu)
            logger.info("%s: measured", case)
            training[str(case)] = waits.of_training(case, tree, settings)
        torch.set_num_threads(before)
        searching = waits.of_search(tree, settings)
    summary: dict[str, Any] = {"h100_search_images_per_second": H100_SEARCH, "cases": summaries}
    summary["waiting"] = {"search": searching, "training": training}
    draw = partial(plots.draw_rates, summaries)
    return Outcome(rows, [f"dali: {problem}"] if problem else [], summary, draw)


def _turns(case: Case, tree: Path, settings: Settings) -> tuple[Seconds, Seconds]:
    """Wall and CPU seconds of a pass, by contestant, of each round."""
    images = image_set(case, tree)
    made = {}
    for name in contestants(case):
        with failures(name):
            made[name] = epochs(name, case, images, settings.device)
    _compare(case, made)
    wall: dict[str, list[float]] = {name: [] for name in made}
    cpu: dict[str, list[float]] = {name: [] for name in made}
    for number in range(settings.rounds):
        for name, epoch in made.items():
            started, worked = time.perf_counter(), _cpu_seconds()
            for _ in epoch(1 + number):
                pass
            if settings.device.type == "cuda":
                torch.cuda.synchronize(settings.device)
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(_cpu_seconds() - worked)
    return wall, cpu


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def _compare(case: Case, made: Mapping[str, Epoch]) -> None:
    """WrongKernelError unless all show batches of the same kind, and ours the same images."""
    expected = list(itertools.islice(made["torchvision"](0), _FEW))
    for name, epoch in made.items():
        with failures(name):
            found = list(itertools.islice(epoch(0), _FEW))
        for (images, labels), (other, others) in zip(found, expected, strict=True):
            same = images.shape == other.shape and images.dtype == other.dtype and labels.shape == others.shape
            if name != BASELINE:
                same = same and torch.equal(labels, others) and _apart(images, other) < _ALLOWED[case.source]
            if not same:
                raise WrongKernelError(f"{name}, {case}: shows other images than the torchvision loader")


def _apart(images: torch.Tensor, other: torch.Tensor) -> float:
    return float((images - other).abs().mean())


def _row(op: str, case: Case, name: str, seconds: Seconds) -> Row:
    """Seconds are of a pass."""
    described = {"name": str(case), **asdict(case)}
    return row(op, described, op, name, seconds[name], (BASELINE, seconds[BASELINE]))


def _summary(case: Case, wall: Seconds, cpu: Seconds) -> dict[str, Any]:
    """Images a second, microseconds of CPU an image, and how many times those of the plain DataLoader."""
    rates = {name: spread([case.images / s for s in values]) for name, values in wall.items()}
    return {
        "threads": case.threads,
        "images_per_second": rates,
        "cpu_microseconds_per_image": {name: spread([1e6 * s / case.images for s in v]) for name, v in cpu.items()},
        "ratios": {name: ratios(wall[BASELINE], values) for name, values in wall.items() if name != BASELINE},
        "per_core_ratios": {name: ratios(cpu[BASELINE], values) for name, values in cpu.items() if name != BASELINE},
        "share_of_h100_search": {name: rate["median"] / H100_SEARCH for name, rate in rates.items()},
    }
