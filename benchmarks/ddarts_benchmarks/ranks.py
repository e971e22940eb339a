"""`ddarts bench search --ranks 1,2`: an iteration of the search on several ranks of this machine, phase by phase.

Every rank has a batch of its own (weak scaling). Ranks on a CPU share its cores: there the figures say what
communication costs, not how a cluster scales.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ddarts.runtime.errors import DdartsError
from ddarts.runtime.ranks.discovery import free_port
from ddarts_benchmarks.iterations import Case
from ddarts_benchmarks.rank_worker import PHASES, TIMEOUT
from ddarts_benchmarks.registry import Outcome, Settings
from ddarts_benchmarks.rows import Row, row
from ddarts_benchmarks.timing import spread

logger = logging.getLogger("ddarts.benchmarks")

CASE = Case("ddarts", 16)
QUICK = Case("ddarts", 8, 4, 3, 16)


def measure(settings: Settings) -> Outcome:
    """One start of processes for each number of ranks. DdartsError where one of them fails."""
    case = QUICK if settings.quick else CASE
    numbers = settings.options.ranks or (1,)
    found = {}
    for number in numbers:
        found[number] = _run(number, case, settings)
        logger.info("%d ranks: measured", number)
    first = numbers[0]
    rows = [row_ for number in numbers for row_ in _rows(case, number, found[number], first, found[first])]
    summary = {str(number): _summary(case, number, found[number]) for number in numbers}
    return Outcome(rows, [], {"ranks": summary, "case": {**asdict(case), "dtype": "float32"}}, _no_figure)


def _run(number: int, case: Case, settings: Settings) -> dict[str, Any]:
    told: dict[str, Any] = {"rounds": settings.rounds, "device": settings.device.type}
    told["case"] = {name: value for name, value in asdict(case).items() if name != "dtype"}
    told["threads"] = max(1, torch.get_num_threads() // number)
    common = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [sys.executable, "-m", "ddarts_benchmarks.rank_worker", json.dumps(told), str(path)]
        ranks = [
            subprocess.Popen(
                command,
                env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(number)
        ]
        said = [process.communicate()[1] for process in ranks]
        if any(process.returncode for process in ranks) or not path.exists():
            last = next((text.strip().splitlines()[-1] for text in said if text.strip()), "no message")
            raise DdartsError(f"--ranks {number}: a rank failed, or hung for {TIMEOUT:g} s ({last})")
        return json.loads(path.read_text())


def _whole(found: dict[str, Any], what: str) -> list[float]:
    """Seconds of whole iterations."""
    return [sum(parts) for parts in zip(*(found[phase][what] for phase in PHASES), strict=True)]


def _rows(case: Case, number: int, found: dict[str, Any], first: int, base: dict[str, Any]) -> list[Row]:
    described = {"name": str(case), **asdict(case), "dtype": "float32"}
    columns = {phase: (found[phase]["seconds"], base[phase]["seconds"]) for phase in PHASES}
    columns["iteration"] = _whole(found, "seconds"), _whole(base, "seconds")
    return [
        row("iteration", described, phase, _name(number), seconds, (_name(first), reference))
        for phase, (seconds, reference) in columns.items()
    ]


def _summary(case: Case, number: int, found: dict[str, Any]) -> dict[str, Any]:
    seconds, communication = _whole(found, "seconds"), _whole(found, "communication")
    return {
        "seconds": spread(seconds),
        "images_per_second": spread([2 * case.batch * number / s for s in seconds]),
        "communication_share": spread([c / s for c, s in zip(communication, seconds, strict=True)]),
        "phases": {phase: spread(found[phase]["seconds"]) for phase in PHASES},
        "bytes": {phase: found[phase]["bytes"] for phase in PHASES},
        "all_reduces": {phase: found[phase]["calls"] for phase in PHASES},
    }


def _name(number: int) -> str:
    return f"{number} rank{'s' if number > 1 else ''}"


def _no_figure(*_: object) -> list[str]:
    return []
