"""Bringing defaults, presets, a file and what the user gave together into one checked configuration."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ddarts.config.common import default_dataset
from ddarts.config.files import read_options, written_by
from ddarts.config.options import canonical, specs
from ddarts.config.presets import preset
from ddarts.config.validate import validate
from ddarts.config.values import convert
from ddarts.runtime.errors import UsageError
from ddarts.runtime.rundir import find_run

Config = TypeVar("Config")
_FOLDERS = {"search": "search", "train": "eval"}  # a command's runs lie in <out>/<folder>/<save>
_log = logging.getLogger(__name__)


def resolve(cls: type[Config], given: Mapping[str, Any] | None = None, config_file: str | Path | None = None) -> Config:
    """The configuration for the options in `given` (name → text or value), checked as a whole.

    Precedence: class default, then the data set's preset, then (where a run is continued) what that run's config.yaml
    says, then `config_file`, then `given`. Raises UsageError.
    A run without a name gets one from data set and time. Options without effect are said so, once each, in the log.
    """
    asked = _converted(cls, given or {})
    from_file = read_options(cls, config_file) if config_file else {}
    chosen = {**from_file, **asked}
    if chosen.get("resume") and not chosen.get("seeds"):  # the runs of several seeds are found by their names
        chosen = _continued(cls, chosen)
    if "dataset" in specs(cls) and chosen.get("dataset") is None:
        chosen["dataset"] = default_dataset(chosen.get("data"))
    values = {**preset(cls.command, chosen.get("dataset", ""), chosen), **chosen}  # type: ignore[attr-defined]
    if cls.command in _FOLDERS and not values.get("save") and not values.get("resume"):  # type: ignore[attr-defined]
        values["save"] = _new_name(_runs(cls, values), values["dataset"])
    config = validate(cls(**values))
    on_purpose = set(asked) | {name for name, value in from_file.items() if value != specs(cls)[name].default}
    for remark in _remarks(config, on_purpose):
        _log.warning(remark)
    return config


def from_yaml(cls: type[Config], path: str | Path) -> Config:
    """The configuration that a run wrote to its config.yaml: no presets, nothing added. Raises UsageError."""
    return validate(cls(**read_options(cls, path)))


def _converted(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for spelling, value in given.items():
        name = canonical(cls, spelling)
        values[name] = convert(specs(cls)[name], value)
    return values


def _continued(cls: type, chosen: dict[str, Any]) -> dict[str, Any]:
    """`chosen` over the options of the run to continue; a bare `--resume` becomes that run's folder."""
    if chosen["resume"] == "auto":
        if not chosen.get("save"):
            raise UsageError("--resume: give the run folder to continue, or its name with --save")
        chosen = {**chosen, "resume": str(_runs(cls, chosen) / chosen["save"])}
    else:
        beside = next((name for name in ("save", "out") if name in chosen), None)
        if beside:
            raise UsageError(f"--{beside} {chosen[beside]}: --resume {chosen['resume']} already says which run")
    run_dir = find_run(chosen["resume"])
    written = run_dir / "config.yaml"
    if not written.is_file():
        return chosen
    command = written_by(written)
    if command not in (None, cls.command):  # type: ignore[attr-defined]
        raise UsageError(f"--resume {chosen['resume']}: a run of ddarts {command}; continue it with that command")
    before = read_options(cls, written)
    if chosen.get("engine") == "torch":
        before.pop("ds_config", None)  # of the engine that the run had
    return {**before, **chosen}


def _runs(cls: type, values: Mapping[str, Any]) -> Path:
    return Path(values.get("out") or specs(cls)["out"].default) / _FOLDERS[cls.command]  # type: ignore[attr-defined]


def _new_name(folder: Path, dataset: str) -> str:
    """A name that no run in `folder` has: data set and time."""
    name = stamped = f"{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while (folder / name).exists():
        number += 1
        name = f"{stamped}-{number}"
    return name


def _remarks(config: Any, given: set[str]) -> list[str]:
    lines = []
    for name, spec in specs(type(config)).items():
        if spec.option.inactive and name in given and getattr(config, name) is not None:
            lines.append(f"--{name} has no effect: {spec.option.inactive}")
    if hasattr(config, "remarks"):
        lines.extend(config.remarks(given))
    return lines
