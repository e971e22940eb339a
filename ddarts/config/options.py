"""How a dataclass field becomes an option: its help text, what it allows, and whether it has an effect here."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ddarts.runtime.errors import UsageError

_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What is known about an option besides its name, type and default."""

    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    even: bool = False
    aliases: tuple[str, ...] = ()
    required: str = ""  # what to give, for options without a usable default
    positional: bool = False
    bare: str = ""  # the value that the option stands for when it is given without one
    inactive: str = ""  # why a published option has no effect
    unavailable: Mapping[str, str] = dataclasses.field(default_factory=dict)  # value (or "*") -> what to do instead


def option(default: Any, help: str, **details: Any) -> Any:
    """A dataclass field that is an option; `details` are the other fields of `Option`."""
    return field(default=default, metadata={_KEY: Option(help, **details)})


@dataclass(frozen=True)
class Spec:
    """An option with its name, type and default. `kind` is bool, int, float or str; `many` values make a tuple."""

    name: str
    kind: type
    optional: bool
    many: bool
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """How messages name it."""
        return self.name.upper() if self.option.positional else f"--{self.name}"

    def allowed(self) -> str:
        """What a value must be, as the end of a sentence: `must be a whole number, at least 1`."""
        choices = [choice for choice in self.option.choices if choice not in self.option.unavailable]
        if choices:
            *others, last = choices
            return f"choose {', '.join(others)} or {last}" if others else f"choose {last}"
        if self.kind is bool:
            return "must be true or false"
        if self.kind is str:
            return "must be a text that is not empty"
        noun = "number" if self.kind is float else "even whole number" if self.option.even else "whole number"
        bounds = " and ".join(self._bounds())
        if self.many:
            return f"must be {noun}s separated by commas{f', each {bounds}' if bounds else ''}"
        return f"must be {'an' if noun[0] == 'e' else 'a'} {noun}{f', {bounds}' if bounds else ''}"

    def _bounds(self) -> Iterable[str]:
        details = self.option
        words = (
            ("at least", details.minimum),
            ("above", details.exclusive_minimum),
            ("at most", details.maximum),
            ("below", details.exclusive_maximum),
        )
        return [f"{word} {bound}" for word, bound in words if bound is not None]


def specs(cls: Any) -> Mapping[str, Spec]:
    """The options of a configuration class, by name, in order."""
    return _specs(cls)


@cache
def _specs(cls: Any) -> Mapping[str, Spec]:
    hints = typing.get_type_hints(cls)
    found = {}
    for item in dataclasses.fields(cls):
        kind, optional, many = _kind(hints[item.name])
        found[item.name] = Spec(item.name, kind, optional, many, item.default, item.metadata[_KEY])
    return types.MappingProxyType(found)


def _kind(hint: Any) -> tuple[type, bool, bool]:
    parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
    optional = isinstance(hint, types.UnionType)
    if optional:
        (hint,) = parts
    many = typing.get_origin(hint) is tuple
    return (typing.get_args(hint)[0] if many else hint), optional, many


def canonical(cls: type, name: str, where: str = "") -> str:
    """The option's own name for `name` (dashes or underscores, or an alias). UsageError suggests a close one."""
    wanted = name.replace("-", "_")
    table = names(cls)
    if wanted in table:
        return table[wanted]
    close = difflib.get_close_matches(wanted, table, 1)
    command = getattr(cls, "command", "")
    hint = f"did you mean --{close[0]}?" if close else f"see ddarts {command} --help"
    raise UsageError(f"{where}unknown option --{name}: {hint}")


def names(cls: type) -> dict[str, str]:
    """Every accepted spelling (with underscores) of every option, and the option's own name."""
    return {spelling: name for name, spec in specs(cls).items() for spelling in (name, *spec.option.aliases)}
