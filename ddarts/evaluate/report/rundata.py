"""A run folder as it stands, finished or not: options, the log's rows, σ(α) after every epoch, genotype, warnings.

What is missing or damaged leaves a gap and a line in `problems`; only a folder that is no run's is an error.
Shapes: T epochs, S distinct cells, E edges, K operations.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddarts.config import SearchConfig, TrainConfig, read_options
from ddarts.config.files import written_by
from ddarts.genotype import files
from ddarts.genotype.alphas_file import read_alphas
from ddarts.genotype.schema import Genotype
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.rundir import DONE

CONFIG, METRICS = "config.yaml", "metrics.jsonl"
CLASSES: dict[str, type] = {"search": SearchConfig, "train": TrainConfig}
_ROWS = {"epoch": "search", "end": "search", "alphas": "search", "test": "train"}  # kinds that only one command writes
_MESSAGE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d):\d\d,\d+ ([A-Z]+) (.+)")

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class RunData:
    """One run. `options` are those of config.yaml over the defaults; `started` and `ended` come from log.txt."""

    path: Path
    command: str
    options: Any
    rows: tuple[dict[str, Any], ...]
    genotype: Genotype | None
    done: dict[str, Any] | None
    warnings: tuple[str, ...]
    started: str
    ended: str
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The rows of these kinds, in order."""
        return [row for row in self.rows if row["kind"] in kinds]

    def series(self, name: str, *kinds: str) -> Points:
        """(epoch, counted from 1; value) of every row of these kinds that has a finite number called `name`."""
        return [(row["epoch"] + 1, row[name]) for row in self.of(*kinds) if _is_number(row.get(name))]

    def last(self, name: str, *kinds: str) -> Any:
        """The newest finite number called `name` in rows of these kinds, or None."""
        points = self.series(name, *kinds)
        return points[-1][1] if points else None

    @cached_property
    def alphas(self) -> tuple[list[int], NDArray[Any]] | None:
        """Epochs (from 1) and σ(α) [T, S, E, K] of the distinct cells after each; from alphas.npz, T = 1, where the log
        has none."""
        found = [(row["epoch"] + 1, _array(row.get("alphas"))) for row in self.of("alphas")]
        shape = next((array.shape for _, array in reversed(found) if array is not None), None)
        kept = [(epoch, array) for epoch, array in found if array is not None and array.shape == shape]
        if kept:
            return [epoch for epoch, _ in kept], np.stack([array for _, array in kept])
        try:
            stored = _array(read_alphas(self.path / "alphas.npz").alphas)
        except DdartsError:
            stored = None
        return None if stored is None else ([max(1, len(self.of("epoch")))], stored[None])


def read_run(path: str | Path) -> RunData:
    """Read the run folder `path`. UsageError where it is none, or where it does not say what kind of run it is."""
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"RUN_DIR {path}: {'is a file' if path.exists() else 'no such folder'}; give a run's folder")
    if not any((path / name).is_file() for name in (CONFIG, METRICS)):
        raise UsageError(f"RUN_DIR {path}: not a run folder (it has neither {CONFIG} nor {METRICS})")
    problems: list[str] = []
    rows = tuple(_rows(path / METRICS, problems))
    command = _command(path, rows)
    messages = list(_messages(path / "log.txt"))
    told = dict.fromkeys(text for _, level, text in messages if level in ("WARNING", "ERROR", "CRITICAL"))
    return RunData(
        path,
        command,
        _options(path / CONFIG, CLASSES[command], problems),
        rows,
        _genotype(path / "genotype.json", problems),
        _done(path / DONE),
        tuple(told),
        messages[0][0] if messages else "",
        messages[-1][0] if messages else "",
        tuple(problems),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _array(value: Any) -> NDArray[Any] | None:
    """`value` as finite numbers [S, E, K], or None where it is no such thing."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError):
        return None
    return array if array.ndim == 3 and array.size and np.isfinite(array).all() else None


def _command(path: Path, rows: tuple[dict[str, Any], ...]) -> str:
    told = written_by(path / CONFIG) if (path / CONFIG).is_file() else None
    guessed = next((_ROWS[row["kind"]] for row in rows if row["kind"] in _ROWS), None)
    command = told or guessed
    if command not in CLASSES:
        raise UsageError(
            f"RUN_DIR {path}: says neither in {CONFIG} nor in {METRICS} whether it is a search or a training"
        )
    return command


def _rows(path: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """The rows that can be read. The last line of a run that was killed, or is running, may be cut short."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    except OSError as error:
        problems.append(f"{METRICS} cannot be read ({error.strerror})")
        return
    bad = 0
    for line in lines:
        try:
            row = json.loads(line)
            sound = isinstance(row["kind"], str) and type(row["step"]) is int and type(row["epoch"]) is int
        except (ValueError, KeyError, TypeError, RecursionError):
            sound = False
        bad += not sound
        if sound:
            yield row
    if bad:
        problems.append(f"{METRICS}: {bad} of {len(lines)} lines cannot be read and are left out")


def _options(path: Path, cls: type, problems: list[str]) -> Any:
    try:
        return cls(**read_options(cls, path)) if path.is_file() else cls()
    except UsageError as error:
        problems.append(f"{CONFIG}: {str(error).removeprefix(f'--config {path}: ')}; defaults are shown in its place")
        return cls()


def _genotype(path: Path, problems: list[str]) -> Genotype | None:
    try:
        return files.read(path) if path.is_file() else None
    except DdartsError as error:
        problems.append(str(error))
        return None


def _done(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _messages(path: Path) -> Iterator[tuple[str, str, str]]:
    """Time to the minute, level and text of every message of log.txt."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        found = _MESSAGE.match(line)
        if found:
            yield found[1], found[2], found[3]
