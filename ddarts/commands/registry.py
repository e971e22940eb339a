"""The commands: what each is for, its options, and who runs it."""

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ddarts import config
from ddarts.config.values import shown
from ddarts.runtime.errors import UsageError


@dataclass(frozen=True)
class Command:
    """A command. `run` is "module:function", imported when the command runs, and takes the configuration.

    `present` names the function of `ddarts.commands.results` that shows the result to a person.
    """

    options: type
    run: str
    present: str

    @property
    def summary(self) -> str:
        """One line on what it does."""
        return (self.options.__doc__ or "").splitlines()[0]

    def call(self, options: Any) -> Any:
        """Run it."""
        module, _, function = self.run.partition(":")
        return getattr(import_module(module), function)(options)


COMMANDS = {
    command.options.command: command  # type: ignore[attr-defined]
    for command in (
        Command(config.SearchConfig, "ddarts.commands.runs:search", "pairs"),
        Command(config.DeriveConfig, "ddarts.commands.small:derive", "derived"),
        Command(config.TrainConfig, "ddarts.commands.runs:train", "pairs"),
        Command(config.EvaluateConfig, "ddarts.evaluate.accuracy:evaluate", "pairs"),
        Command(config.CostConfig, "ddarts.evaluate.cost:cost", "pairs"),
        Command(config.DistanceConfig, "ddarts.evaluate.distances:distance", "distances"),
        Command(config.ArchsConfig, "ddarts.commands.small:archs", "architectures"),
        Command(config.ShowConfig, "ddarts.evaluate.drawing:show", "shown"),
        Command(config.ExportConfig, "ddarts.network.export:export", "pairs"),
        Command(config.ReportConfig, "ddarts.evaluate.report.page:report", "shown"),
        Command(config.DataConfig, "ddarts.data.tools:data", "data_set"),
        Command(config.BenchConfig, "ddarts_benchmarks.run:bench", "measured"),
        Command(config.InfoConfig, "ddarts.commands.info:info", "information"),
    )
}


def check_name(name: str) -> str:
    """`name` if it is a command's; UsageError names a close one."""
    if name in COMMANDS:
        return name
    if name.startswith("-"):
        raise UsageError(f"unknown option {shown(name)}: see ddarts --help")
    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}"
    raise UsageError(f"unknown command {shown(name)}: {hint}")
