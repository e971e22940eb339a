"""The command `ddarts report`, and the report that a run writes when it ends."""

import logging
import os
import platform
import shlex
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ddarts import __version__
from ddarts.config import ReportConfig, validate
from ddarts.config.options import specs
from ddarts.evaluate.report import architecture, search, training
from ddarts.evaluate.report.charts import number
from ddarts.evaluate.report.findings import findings
from ddarts.evaluate.report.heat import LEVELS
from ddarts.evaluate.report.repeat import chosen, command_line
from ddarts.evaluate.report.rundata import RunData, read_run
from ddarts.runtime.run import data_options
from ddarts.runtime.rundir import atomic_write_text
from ddarts.space.primitives import SPACES

_log = logging.getLogger(__name__)
FILE = "report.html"


def report(config: ReportConfig) -> dict[str, Any]:
    """Write report.html into the run folder, over an earlier one; returns its path.

    UsageError where the folder is no run's; DdartsError where it cannot be written.
    """
    config = validate(config)
    run = read_run(config.run_dir or "")
    path = run.path / FILE
    atomic_write_text(path, render(run))
    return {"path": str(path)}


def report_finished(run_dir: str | os.PathLike[str]) -> None:
    """The report of a run that has just ended. Whatever goes wrong is a line of the log: the run itself is done."""
    try:
        _log.info("report: %s", report(ReportConfig(run_dir=os.fspath(run_dir)))["path"])
    except Exception as error:
        _log.warning("report.html not written (%s: %s)", type(error).__name__, " ".join(str(error).split()))


def render(run: RunData) -> str:
    """The page: no reference to any other file, no script."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    own = search.context(run) if run.command == "search" else training.context(run)
    genotype = run.genotype
    return environment.get_template(f"{run.command}.html").render(
        run=run,
        findings=findings(run),
        command=command_line(run.options, f"{run.name}-again"),
        options=_options(run),
        place=shlex.quote(str(run.path)),
        data=data_options(run.options),
        drawings=None if genotype is None else architecture.drawings(genotype),
        kept=None if genotype is None else architecture.kept(genotype, SPACES[genotype.space].operations),
        costs=architecture.costs(run),
        published=architecture.published(),
        levels=range(LEVELS + 1),
        writer=_writer(),
        **own,
    )


def _options(run: RunData) -> list[tuple[str, str, str, bool]]:
    """Name, value, meaning, and whether it differs from what the command takes by itself."""
    told = chosen(run.options)
    rows = []
    for name, spec in specs(type(run.options)).items():
        value = getattr(run.options, name)
        words = {"None": "–", "True": "yes", "False": "no"}
        rows.append((name, words.get(str(value), str(value)), spec.option.help, name in told and value != spec.default))
    return rows


def _writer() -> str:
    """Which program wrote the page."""
    return f"ddarts {__version__}, torch {metadata.version('torch')}, Python {platform.python_version()}"
