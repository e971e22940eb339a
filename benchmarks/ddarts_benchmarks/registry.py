"""What can be measured."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ddarts.config import BenchConfig
from ddarts.config.values import shown
from ddarts.runtime.errors import UsageError
from ddarts_benchmarks import plots

# name -> "module:function", imported when it runs
SUBJECTS = {
    "kernels": "ddarts_benchmarks.kernels:measure",
    "supernet": "ddarts_benchmarks.supernet:measure",
    "search": "ddarts_benchmarks.search:measure",
    "train": "ddarts_benchmarks.train:measure",
    "data": "ddarts_benchmarks.data:measure",
    "ops": "ddarts_benchmarks.ops:measure",
}
RANKS = "ddarts_benchmarks.ranks:measure"  # search with --ranks
# Where rounds take long: how many in a whole and in a quick run, unless asked for more.
ROUNDS = {"search": (3, 3), "train": (5, 3), "ops": (3, 1)}
USUAL_ROUNDS = (7, 3)


@dataclass(frozen=True)
class Settings:
    """What every subject is told. rounds: how often each contestant has its turn. options: the command's, for what one
    subject alone has. path: the file that the results will be in."""

    device: torch.device
    quick: bool
    rounds: int
    options: BenchConfig = BenchConfig()
    path: Path = Path()


@dataclass(frozen=True)
class Outcome:
    """What every subject answers: rows (see rows.py), a line for everything that was not measured, what else the
    results hold, and who draws the figures (rows, path without ending, title → paths)."""

    rows: list[dict[str, Any]]
    left_out: list[str]
    summary: dict[str, Any] = field(default_factory=dict)
    draw: Callable[[Sequence[dict[str, Any]], Path, str], list[str]] = plots.draw


def rounds(name: str, quick: bool) -> int:
    """How often each contestant has its turn unless someone says otherwise."""
    return ROUNDS.get(name, USUAL_ROUNDS)[quick]


def subject(name: str, ranks: bool = False) -> Callable[[Settings], Outcome]:
    """The function that measures `name`, on several `ranks`; UsageError names a close one."""
    if name not in SUBJECTS:
        close = difflib.get_close_matches(name, SUBJECTS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose {', '.join(SUBJECTS)}"
        raise UsageError(f"SUBJECT {shown(name)}: unknown; {hint}")
    module, _, function = (RANKS if ranks else SUBJECTS[name]).partition(":")
    return getattr(import_module(module), function)
