"""The commands that make a run: the engine's work, and, once that is done, the run's report."""

from typing import Any

from ddarts.config import SearchConfig, TrainConfig
from ddarts.runtime.ranks.discovery import discover


def search(options: SearchConfig) -> dict[str, Any]:
    """The engine's result."""
    from ddarts.search.engine import search as run

    return _reported(run(options))


def train(options: TrainConfig) -> dict[str, Any]:
    """The engine's result."""
    from ddarts.train.engine import train as run

    return _reported(run(options))


def _reported(result: dict[str, Any]) -> dict[str, Any]:
    from ddarts.evaluate.report.page import report_finished

    if "run_dir" in result and not discover().rank:  # several seeds have reported on their runs
        report_finished(result["run_dir"])
    return result
