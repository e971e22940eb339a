"""How to repeat a run: the shortest command line that gives its options."""

import shlex
from collections.abc import Iterator
from typing import Any

from ddarts.config.options import specs
from ddarts.config.presets import preset

_PLACES = ("save", "out", "resume")  # where the run lies, not what it computes
_PRESETS_HANG_ON = ("dataset", "arch_baseline")


def chosen(config: Any) -> dict[str, Any]:
    """The options that differ from what the command would take by itself: its defaults and the data set's preset.

    The shortest such list: all options are given, then every one is left out that the others imply. (What a preset
    says depends on what is given.)
    """
    cls = type(config)
    wanted = {name: getattr(config, name) for name in specs(cls) if name not in _PLACES}
    given = {name: value for name, value in wanted.items() if value is not None}
    for name in [name for name in given if name != "dataset"]:
        fewer = {other: value for other, value in given.items() if other != name}
        taken = cls(**{**preset(cls.command, config.dataset or "", fewer), **fewer})  # type: ignore[attr-defined]
        if all(getattr(taken, other) == value for other, value in wanted.items()):
            given = fewer
    return given


def command_line(config: Any, save: str) -> str:
    """`ddarts COMMAND …` for a run called `save`."""
    words = ["ddarts", config.command, *_words(config), "--save", save]
    return shlex.join(words)


def _words(config: Any) -> Iterator[str]:
    table = specs(type(config))
    for name, value in chosen(config).items():
        if table[name].kind is bool:
            yield f"--{name}" if value else f"--no_{name}"
        else:
            yield f"--{name}"
            yield ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
