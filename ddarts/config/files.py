"""Files that options name: configurations (YAML, read safely, written in one step) and JSON."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from ddarts.config.options import canonical, specs
from ddarts.config.values import convert, shown
from ddarts.runtime.errors import UsageError

MAX_BYTES = 1 << 20
_HEADER = "# options of ddarts "


def to_yaml(config: Any, path: str | Path) -> None:
    """Write every option of `config` to a YAML file, replacing it in one step. Raises DdartsError."""
    import yaml

    from ddarts.runtime.rundir import atomic_write_text

    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(config).items()
    }
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    atomic_write_text(path, f"{_HEADER}{config.command}\n{body}")


def written_by(path: Path) -> str | None:
    """The command whose options a configuration file holds, where `to_yaml` wrote it."""
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline(200).strip()
    return first.removeprefix(_HEADER) if first.startswith(_HEADER) else None


def read_options(cls: type, path: str | Path) -> dict[str, Any]:
    """The options of `cls` that a YAML file sets, converted. UsageError names the file and what is wrong in it."""
    content = _load(Path(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: must be a list of `option: value` lines")
    options: dict[str, Any] = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise UsageError(f"--config {path}: {shown(key)} is not the name of an option")
        name = canonical(cls, key, f"--config {path}: ")
        if name in options:
            raise UsageError(f"--config {path}: --{name} is given twice")
        options[name] = convert(specs(cls)[name], value, f"--config {path}: ")
    return options


def _load(path: Path) -> Any:
    import yaml

    data = _bytes(path, f"--config {path}", "configuration is", MAX_BYTES)
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise UsageError(f"--config {path}: is not a YAML file{where}") from None


def read_json(option: str, path: str | Path, what: str, limit: int) -> Any:
    """The content of the JSON file that `option` names. UsageError where it is none, or has more than `limit` bytes,
    "which no `what`" ("weights are")."""
    where = f"{option} {path}"
    try:
        return json.loads(_bytes(path, where, what, limit))
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: is not a JSON file") from None


def _bytes(path: str | Path, where: str, what: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{where}: cannot be read ({error.strerror})") from None
    if len(data) > limit:
        raise UsageError(f"{where}: is larger than {limit >> 20} MiB, which no {what}")
    return data
