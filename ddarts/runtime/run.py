"""One run of an engine: its folder, its logs, its checkpoints, and stopping it."""

import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ddarts.config.files import to_yaml
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.processor import keep_freed_memory
from ddarts.runtime.rundir import CHECKPOINTS, clear_done, find_checkpoint, find_run, new_run_dir
from ddarts.runtime.runlog import RunLog
from ddarts.runtime.signals import Requeue, StopRequest


@dataclass
class Run:
    """An open run. `restored` is the state to continue from, None for a new run."""

    command: str
    run_dir: Path
    log: RunLog
    store: CheckpointStore
    stop: StopRequest
    restored: dict[Any, Any] | None = None
    clock: "Stopwatch" = field(default_factory=lambda: Stopwatch())

    def stop_if_requested(self, step: int, state: Mapping[str, Any]) -> None:
        """At a step's edge: when a signal asked to stop, save and raise Requeue."""
        if self.stop.requested:
            self.store.save(step, state)
            raise Requeue(self.command, self.run_dir, self.stop.signal_name or "a signal", step)


@contextmanager
def open_run(config: Any, folder: str) -> Iterator[Run]:
    """Open the run that `config` describes: a new `<out>/<folder>/<save>`, or the one that `config.resume` names.

    Raises UsageError where a new run would write over another, DdartsError where no checkpoint can be read.
    """
    keep_freed_memory()
    restored, step = None, None
    if config.resume:
        run_dir = find_run(config.resume)
        store = CheckpointStore(run_dir / CHECKPOINTS)
        restored, step = store.load(find_checkpoint(config.resume))
        clear_done(run_dir)
    else:
        run_dir = new_run_dir(config.out, folder, config.save)
        store = CheckpointStore(run_dir / CHECKPOINTS)
    to_yaml(replace(config, resume=None), run_dir / "config.yaml")
    with RunLog(run_dir, resume_step=step) as log, StopRequest() as stop:
        yield Run(config.command, run_dir, log, store, stop, restored)


class Stopwatch:
    """Mean wall time of the steps of this process."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> "Stopwatch":
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.seconds += time.perf_counter() - self._since
        self.steps += 1

    @property
    def per_step(self) -> float | None:
        """Seconds per step, None where no step was made."""
        return self.seconds / self.steps if self.steps else None


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as a person would type it in a shell: relative to the current folder where it lies below it."""
    try:
        below = Path(path).resolve().is_relative_to(Path.cwd())
        return shlex.quote(os.path.relpath(path) if below else str(path))
    except (OSError, ValueError):
        return shlex.quote(str(path))


def data_options(config: Any) -> str:
    """The options that name the data of `config`, for a command line that a person may copy."""
    words = ["--dataset", config.dataset]
    words += ["--data", config.data] if config.data else []
    words += ["--image_size", str(config.image_size)] if config.image_size else []
    return shlex.join(words)
