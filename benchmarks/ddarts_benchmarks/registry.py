"""What can be measured."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from ddarts.config.values import shown
from ddarts.runtime.errors import UsageError

SUBJECTS = {"kernels": "ddarts_benchmarks.kernels:measure"}  # name -> "module:function", imported when it runs
LATER = ("supernet", "search", "train", "data", "ops")


@dataclass(frozen=True)
class Settings:
    """What every subject is told. rounds: how often each contestant has its turn."""

    device: torch.device
    quick: bool
    rounds: int


@dataclass(frozen=True)
class Outcome:
    """What every subject answers: rows (see rows.py), and a line for everything that was not measured."""

    rows: list[dict[str, Any]]
    left_out: list[str]


def subject(name: str) -> Callable[[Settings], Outcome]:
    """The function that measures `name`; UsageError names a close one."""
    if name in LATER:
        raise UsageError(f"SUBJECT {name}: not in this version, which measures {', '.join(SUBJECTS)}")
    if name not in SUBJECTS:
        close = difflib.get_close_matches(name, [*SUBJECTS, *LATER], 1)
        hint = f"did you mean {close[0]}?" if close else f"choose {', '.join(SUBJECTS)}"
        raise UsageError(f"SUBJECT {shown(name)}: unknown; {hint}")
    module, _, function = SUBJECTS[name].partition(":")
    return getattr(import_module(module), function)
