"""This run beside an earlier one. Only ratios to the baseline are compared: both sides of a ratio come from one run on
one machine, so it means the same on another; seconds do not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddarts.config.files import read_json
from ddarts.runtime.errors import UsageError
from ddarts_benchmarks.results_file import SCHEMA

TOLERANCE = 0.10  # part of an earlier ratio that may be lost
MAX_BYTES = 64 << 20

Rows = Sequence[Mapping[str, Any]]


def load(path: str | Path, subject: str, device: str) -> Rows:
    """Rows of an earlier run of `subject` on a `device` of this type; UsageError says what is wrong with the file."""
    where = f"--compare {path}"
    found = read_json("--compare", path, "results are", MAX_BYTES)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or "subject" not in found:
        raise UsageError(f"{where}: holds no results of this version of ddarts bench")
    if found["subject"] != subject:
        raise UsageError(f"{where}: holds results of ddarts bench {found['subject']}, not {subject}")
    try:
        rows, before = found["results"], found["machine"]["device"]
        complete = all(isinstance(row["id"], str) and _ratio(row) > 0 for row in rows if _rated(row))
    except (KeyError, TypeError, ValueError):
        complete = False
    if not complete:
        raise UsageError(f"{where}: is damaged: results without names, devices or positive ratios")
    if before != device:
        raise UsageError(f"{where}: was measured on {before}, this run is on {device}: ratios differ by nature")
    return rows


def regressions(before: Rows, now: Rows, tolerance: float = TOLERANCE) -> tuple[int, list[str]]:
    """(how many rows both runs have, a line for each whose median ratio fell by more than `tolerance`, worst first)."""
    earlier = {row["id"]: _ratio(row) for row in before if _rated(row)}
    pairs = [(row, _ratio(row), earlier[row["id"]]) for row in now if _rated(row) and row["id"] in earlier]
    fallen = sorted((p for p in pairs if p[1] < (1 - tolerance) * p[2]), key=lambda p: p[1] / p[2])
    lines = [f"{row['id']}: {new:.2f} times {row['baseline']}, was {old:.2f}" for row, new, old in fallen]
    return len(pairs), lines


def _rated(row: Mapping[str, Any]) -> bool:
    return row["ratio"] is not None


def _ratio(row: Mapping[str, Any]) -> float:
    return float(row["ratio"]["median"])
