"""Several seeds of one search: independent runs, each a process of its own, one at a time on every device."""

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from ddarts.config.files import to_yaml
from ddarts.config.search import SearchConfig
from ddarts.genotype.distance import distance
from ddarts.genotype.files import read
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.ranks.discovery import discover
from ddarts.runtime.run import shown_path
from ddarts.runtime.rundir import CHECKPOINTS, DONE, atomic_write_text
from ddarts.runtime.signals import Requeue, StopRequest

_log = logging.getLogger(__name__)
_AGAIN = "the same command and --resume"
_PAUSE = 0.2  # seconds between two looks at the processes


@dataclass(frozen=True)
class SeedRun:
    """The run of one seed."""

    config: SearchConfig

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.config.out) / "search" / self.config.save

    @property
    def done(self) -> dict[str, Any] | None:
        """Its result, once it is finished."""
        path = self.folder / DONE
        return json.loads(path.read_text()) if path.is_file() else None

    def words(self, device: str, folder: Path) -> list[str]:
        """The command that runs it on `device`, or goes on with it under the same options."""
        path = folder / f"{self.config.save}.yaml"
        to_yaml(replace(self.config, device=device), path)
        begun = any((self.folder / CHECKPOINTS).glob("step_*"))
        command = [sys.executable, "-m", "ddarts", "search", "--json", "--config", str(path)]
        return [*command, "--resume"] if begun else command


def search_seeds(config: SearchConfig) -> dict[str, Any]:
    """Search with each of `config.seeds`; returns the runs, mean and deviation of valid_acc, and who agrees with whom.

    With --resume runs that are finished are kept, others go on. Raises Requeue where a signal stopped them.
    """
    runs = [
        SeedRun(replace(config, seeds=None, resume=None, seed=seed, save=f"{config.save}-seed{seed}"))
        for seed in config.seeds or ()
    ]
    if discover().size > 1:
        raise UsageError("--seeds: starts its own processes; leave the launcher out, or give every task one --seed")
    for run in runs:
        if not config.resume and run.folder.is_dir() and any(run.folder.iterdir()):
            raise UsageError(f"{run.folder}: already holds a run; choose another --save, or add --resume")
    with tempfile.TemporaryDirectory() as folder, StopRequest() as stop:
        _Pool(_devices(config.device), Path(folder), stop).work([run for run in runs if run.done is None])
    result = summary(runs)
    atomic_write_text(Path(config.out) / "search" / f"{config.save}-seeds.json", json.dumps(result, indent=2) + "\n")
    for line in _lines(result):
        _log.info(line)
    return result


class _Pool:
    """Processes at work, at most one on every device."""

    def __init__(self, devices: Sequence[str], folder: Path, stop: StopRequest) -> None:
        self.free, self.folder, self.stop = list(devices), folder, stop
        self.alone = len(self.free) == 1  # then its messages are shown as they come
        self.working: dict[subprocess.Popen, tuple[SeedRun, str]] = {}

    def work(self, runs: Sequence[SeedRun]) -> None:
        """Until all are finished. DdartsError names one that fails; the others are stopped, after saving."""
        waiting = deque(runs)
        try:
            while waiting or self.working:
                while waiting and self.free and not self.stop.requested:
                    self._start(waiting.popleft(), self.free.pop(0))
                if self.stop.requested:
                    break
                self._look()
                time.sleep(_PAUSE)
        finally:
            self._end()
        if self.stop.requested:
            raise Requeue(f"stopped by {self.stop.signal_name}, checkpoints saved; continue with: {_AGAIN}")

    def _start(self, run: SeedRun, device: str) -> None:
        _log.info("seed %d on %s: %s", run.config.seed, device, shown_path(run.folder))
        words = run.words(device, self.folder)
        errors = None if self.alone else subprocess.DEVNULL
        self.working[subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)] = run, device

    def _look(self) -> None:
        for process in [process for process in self.working if process.poll() is not None]:
            run, device = self.working.pop(process)
            self.free.append(device)
            if run.done is None and not self.stop.requested:
                raise DdartsError(
                    f"seed {run.config.seed}: its run ended with exit code {process.returncode}; see "
                    f"{run.folder / 'log.txt'}, and continue with: {_AGAIN}"
                )

    def _end(self) -> None:
        for process in self.working:
            process.terminate()
        for process in self.working:
            process.wait()


def _devices(name: str) -> list[str]:
    """The devices to work on: every GPU for auto and cuda, else the one that is named."""
    count = torch.cuda.device_count() if name in ("auto", "cuda") else 0
    return [f"cuda:{i}" for i in range(count)] or [name]


def summary(runs: Sequence[SeedRun]) -> dict[str, Any]:
    """What finished runs found."""
    found = [{"seed": run.config.seed, **(run.done or {})} for run in runs]
    accuracies = [run["valid_acc"] for run in found]
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    genotypes = {run["seed"]: read(run["genotype"]) for run in found if run["genotype"]}
    alike: dict[tuple, list[int]] = {}
    for seed, genotype in genotypes.items():
        alike.setdefault(genotype.cells, []).append(seed)
    pairs = [distance(a, b).distance for a, b in combinations(genotypes.values(), 2)]
    return {
        "runs": found,
        "valid_acc": {"mean": statistics.fmean(accuracies), "std": deviation},
        "same_genotype": list(alike.values()),
        "without_genotype": [run["seed"] for run in found if not run["genotype"]],
        "mean_distance": statistics.fmean(pairs) if pairs else None,
    }


def _lines(result: dict[str, Any]) -> list[str]:
    accuracy, groups = result["valid_acc"], result["same_genotype"]
    names = "; ".join(", ".join(map(str, seeds)) for seeds in groups)
    lines = [f"validation accuracy {accuracy['mean']:.2f} ± {accuracy['std']:.2f} % over {len(result['runs'])} seeds"]
    if groups:
        lines.append(f"{len(groups)} different genotypes; seeds that agree: {names}")
    if result["mean_distance"] is not None:
        lines.append(f"mean distance between two genotypes: {result['mean_distance']:.4f}")
    if result["without_genotype"]:
        lines.append(f"no genotype yet for seeds {', '.join(map(str, result['without_genotype']))}")
    return lines
