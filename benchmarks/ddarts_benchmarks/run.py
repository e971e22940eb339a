"""The command `ddarts bench`: measure a subject, keep the results, compare them with earlier ones."""

import logging
from pathlib import Path
from typing import Any

import torch

from ddarts.config import BenchConfig
from ddarts.ops.dispatch import backend_choice
from ddarts.runtime.device import pick_device
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts_benchmarks import compare
from ddarts_benchmarks.machine import describe
from ddarts_benchmarks.registry import Settings, rounds, subject
from ddarts_benchmarks.results_file import SCHEMA, write

logger = logging.getLogger("ddarts.benchmarks")


def bench(options: BenchConfig) -> dict[str, Any]:
    """The results as their file has them. DdartsError where a contestant is wrong (nothing is written then), or a
    median ratio fell below that of the file to compare with (after everything is written)."""
    name = str(options.subject)
    measure = subject(name, bool(options.ranks))
    backend_choice()  # a wrong DDARTS_BACKEND is refused as everywhere, though every contestant has its own backend
    device = pick_device(options.device)
    before = compare.load(options.compare, name, device.type) if options.compare else None
    folder = _folder(options.output)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    stem = "-".join([name, *_kind(options, device)])
    path = folder / f"{stem}.json"
    settings = Settings(device, options.quick, options.rounds or rounds(name, options.quick), options, path)
    machine = describe(device)
    outcome = measure(settings)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "subject": name,
        "quick": options.quick,
        "rounds": settings.rounds,
        "machine": machine,
        "left_out": outcome.left_out,
        **outcome.summary,
        "results": outcome.rows,
    }
    result["path"] = str(write(path, result))
    result["figures"] = outcome.draw(outcome.rows, folder / stem, _title(name, machine))
    if before is not None:
        result["compared"] = _compare(before, outcome.rows, str(options.compare), result["path"])
    return result


def _kind(options: BenchConfig, device: torch.device) -> list[str]:
    """What tells results of one subject apart in their folder."""
    parts = {
        "ranks": bool(options.ranks),
        str(options.dataset): options.subject == "ops",
        "cuda": device.type == "cuda",
        "quick": options.quick,
    }
    return [part for part, holds in parts.items() if holds]


def _folder(given: str | None) -> Path:
    """The folder for results, which is made; UsageError where it cannot be. Left out: benchmarks/results of the
    checkout that this file lies in, else of the folder the command runs in."""
    checkout = Path(__file__).resolve().parents[2]
    root = checkout if (checkout / "pyproject.toml").is_file() else Path()
    folder = Path(given) if given else root / "benchmarks" / "results"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be made ({error.strerror})") from None
    return folder


def _title(name: str, machine: dict[str, Any]) -> str:
    where = machine.get("gpu") or f"{machine['processor']}, {machine['threads']} threads"
    return f"{name}: {where}, torch {machine['torch']}"


def _compare(before: compare.Rows, now: compare.Rows, file: str, path: str) -> dict[str, Any]:
    common, fallen = compare.regressions(before, now)
    if not common:
        raise DdartsError(f"--compare {file}: shares no row with this run; results are in {path}")
    for line in fallen:
        logger.warning("slower than before: %s", line)
    if fallen:
        more = f" (and {len(fallen) - 1} more)" if len(fallen) > 1 else ""
        raise DdartsError(f"slower than in {file}: {fallen[0]}{more}; results are in {path}")
    return {"file": file, "rows": common, "tolerance": compare.TOLERANCE}
