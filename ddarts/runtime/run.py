"""One run of an engine: its folder, its logs, its checkpoints, and stopping it."""

import dataclasses
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from ddarts.config.files import to_yaml
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError, DivergedError, UsageError
from ddarts.runtime.profiling import profiling
from ddarts.runtime.progress import Progress
from ddarts.runtime.ranks.group import Group, RankLostError, single
from ddarts.runtime.rundir import (
    CHECKPOINTS,
    DONE,
    REQUEUE,
    claim,
    clear_ends,
    find_checkpoint,
    find_run,
    mark_end,
    new_run_dir,
)
from ddarts.runtime.runlog import RankLog, RunLog
from ddarts.runtime.signals import Requeue, StopRequest


class Run:
    """An open run. `restored` is the state to continue from, None for a new run.

    Until `begin`, nothing of a run that is continued is changed: an engine restores and checks first.
    """

    log: RunLog | RankLog
    stop: StopRequest

    def __init__(
        self, config: Any, run_dir: Path, restored: tuple[dict[Any, Any], int] | None, exits: ExitStack, group: Group
    ) -> None:
        self.config = config
        self.group = group
        self.run_dir = run_dir
        self.store = CheckpointStore(run_dir / CHECKPOINTS)
        self.restored = None if restored is None else restored[0]
        self.clock = Stopwatch()
        self._step = None if restored is None else restored[1]
        self._exits = exits

    def begin(self) -> None:
        """From here on the run writes: config.yaml, logs; DONE or REQUEUE of an earlier end is taken away."""
        self.group.from_first(self._begin_folder)
        rows = None if self.restored is None else self.restored.get("rows")
        if self.group.is_first:
            self.log = self._exits.enter_context(RunLog(self.run_dir, resume_step=self._step, resume_rows=rows))
        else:
            self.log = self._exits.enter_context(RankLog(self.run_dir, self.group.rank))
        self.stop = self._exits.enter_context(StopRequest())
        self.group.wants_stop = lambda: self.stop.requested

    def _begin_folder(self) -> str:
        clear_ends(self.run_dir)
        to_yaml(dataclasses.replace(self.config, resume=None), self.run_dir / "config.yaml")
        return str(self.run_dir)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Save a checkpoint, with the number of rows logged so far: a resume drops those that come after. Collective:
        the first rank writes, and where it cannot, all of them fail."""
        self.group.from_first(lambda: str(self.store.save(step, {**state, "rows": self.log.rows})))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Leave DONE, the run's proof of success."""
        if self.group.is_first:
            mark_end(self.run_dir, DONE, result)

    def progress(self, total: int, what: str, done: int) -> Progress:
        """The progress of the run's steps, which the first rank shows."""
        return Progress(total, what, report_freq=self.config.report_freq, done=done, shown=self.group.is_first)

    def profiling(self, device: torch.device) -> AbstractContextManager[Callable[[], object]]:
        """The profile of the run's steps, which the first rank makes where it is asked for."""
        return profiling(self.config.profile and self.group.is_first, self.run_dir, device)

    def stop_if_requested(self, step: int, state: Callable[[], Mapping[str, Any]]) -> None:
        """At a step's edge: when a signal asked any rank to stop, save and raise Requeue, on all of them."""
        if not self.group.agreed_to_stop():
            return
        self.save(step, state())
        why = Requeue.of_run(
            self.config.command, self.run_dir, self.stop.signal_name or "a signal to another rank", step
        )
        # Before any rank leaves: launchers kill the others then.
        self.group.from_first(lambda: self._mark_requeue(step, why))
        raise why

    def _mark_requeue(self, step: int, why: Requeue) -> str:
        mark_end(self.run_dir, REQUEUE, {"step": step, "message": str(why)})
        return REQUEUE

    @contextmanager
    def naming_checkpoint(self) -> Iterator[None]:
        """Let a divergence name the checkpoint to go back to."""
        try:
            yield
        except DivergedError as error:
            saved = self.store.steps()
            where = f"step {saved[-1]} of {self.run_dir}" if saved else "none"
            raise DivergedError(f"{error}; last good checkpoint: {where}; a lower --learning_rate may help") from None


@contextmanager
def open_run(config: Any, folder: str, group: Group | None = None) -> Iterator[Run]:
    """Open the run that `config` describes: a new `<out>/<folder>/<save>`, or the one that `config.resume` names.

    The folder is claimed before any work; a new one that nothing was written to is removed again. Of several ranks the
    first does that, and decides on the checkpoint. Raises UsageError where a new run would write over another or the
    run is in use, DdartsError where no checkpoint can be read, RankLostError where another rank is gone.
    """
    group = group or single()
    with ExitStack() as exits:
        if config.resume:
            run_dir = find_run(config.resume)
            restored = _restore(config, run_dir, group, exits)
        else:
            run_dir = Path(group.from_first(lambda: str(_new(config, folder, exits))))
            restored = None
        try:
            yield Run(config, run_dir, restored, exits, group)
        except RuntimeError as error:
            lost = group.lost(error)
            if lost is None:
                raise
            again = f"ddarts {config.command} --resume {shlex.quote(str(run_dir))}"
            raise RankLostError(f"{lost}; continue from the last checkpoint with: {again}") from error


def _new(config: Any, folder: str, exits: ExitStack) -> Path:
    run_dir = new_run_dir(config.out, folder, config.save)
    exits.callback(_remove_unused, run_dir)
    exits.enter_context(claim(run_dir))
    return run_dir


def _restore(config: Any, run_dir: Path, group: Group, exits: ExitStack) -> tuple[dict[Any, Any], int]:
    """The state to go on from. Every rank reads it from the folder, the one that the first rank found good."""
    which = find_checkpoint(config.resume)
    found: list[tuple[dict[Any, Any], int]] = []

    def choose() -> str:
        exits.enter_context(claim(run_dir))
        found.append(_load(run_dir, which))
        _check_kept(config, found[0][0], run_dir)
        return str(found[0][1])

    step = int(group.from_first(choose))
    return found[0] if found else CheckpointStore(run_dir / CHECKPOINTS).load(step if which == "latest" else which)


# What a run may be continued with in another value; everything else would make another run of it.
FREE = frozenset(
    (
        *("resume", "seeds", "save", "out", "max_steps", "epochs", "checkpoint_every", "report_freq", "profile"),
        *("engine", "ds_config", "rank_timeout", "check_ranks_every"),
        *("device", "backend", "supernet", "activation_storage", "loader", "workers", "compile", "cuda_graphs"),
        *("channels_last", "data", "download", "skip_bad_files", "init_from", "baselines"),
        *("op_threshold", "parse_method", "no_arch_metric", "model_path", "arch_lr_gamma", "gpus"),
    )
)


def kept_options(config: Any) -> dict[str, Any]:
    """The options that a checkpoint remembers, because the meaning of its state hangs on them."""
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in FREE}
    return {"command": config.command, **values}


def _check_kept(config: Any, state: Mapping[Any, Any], run_dir: Path) -> None:
    saved = state.get("options")
    if not isinstance(saved, Mapping):
        raise DdartsError(f"{run_dir}: its checkpoint is not one of this program's runs")
    if saved.get("command") != config.command:
        raise UsageError(f"{run_dir}: a run of ddarts {saved.get('command')}; continue it with that command")
    for name, value in kept_options(config).items():
        if name in saved and saved[name] != value:
            raise UsageError(
                f"--{name} {value}: the run in {run_dir} has {saved[name]}, and with another value it would be another "
                f"run; leave the option out, or start a new run"
            )


def check_fits(what: str, module: torch.nn.Module, saved: Mapping[str, torch.Tensor], run_dir: Path) -> None:
    """Refuse a state dict of another architecture than `module`, before any of it is loaded."""
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    there = {name: tuple(value.shape) for name, value in saved.items()}
    if own != there:
        first = sorted(name for name in own.keys() | there.keys() if own.get(name) != there.get(name))[0]
        raise DdartsError(
            f"{run_dir}: its checkpoint is of another {what} than the options describe (first difference: {first}): "
            "resume with the options of the run's config.yaml"
        )


def _load(run_dir: Path, which: str | Path) -> tuple[dict[Any, Any], int]:
    store = CheckpointStore(run_dir / CHECKPOINTS)
    if which == "latest" and not store.steps():
        raise DdartsError(f"{run_dir}: stopped before its first checkpoint; remove the folder and start the run again")
    return store.load(which)


def _remove_unused(run_dir: Path) -> None:
    """Take away a new folder that holds no run yet."""
    try:
        run_dir.rmdir()
    except OSError:
        pass  # it has content


class Stopwatch:
    """Mean wall time of the steps of this process, with everything that comes between them."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Before the first step of a stretch without evaluation."""
        self._since = time.perf_counter()

    def lap(self) -> None:
        """After every step of the stretch."""
        self._add()
        self.steps += 1

    def stop(self, device: torch.device) -> None:
        """At the end of the stretch: what the device still has to do for its steps counts, the evaluation does not."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self._add()
        self._since = None

    def _add(self) -> None:
        now = time.perf_counter()
        if self._since is not None:
            self.seconds += now - self._since
        self._since = now

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
    for name in ("image_size", "val_resize", "class_list", "skip_bad_files"):
        value = getattr(config, name)
        words += [f"--{name}", str(value)] if value else []
    return shlex.join(words)
