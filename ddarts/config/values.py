"""Turning what a user wrote (a text, or a value from YAML or Python) into an option's value, or a one-line error."""

import math
import numbers
import os
from typing import Any

from ddarts.config.options import Spec
from ddarts.runtime.errors import UsageError

_SHOWN = 80  # characters of a wrong value that an error repeats


def shown(value: Any) -> str:
    """`value` for an error message: on one line, not long, whatever it is."""
    if isinstance(value, bool | int | float | str) or value is None:
        text = str(value) if not isinstance(value, str) or (value and value.isprintable()) else repr(value)
    elif isinstance(value, list | tuple) and all(isinstance(item, bool | int | float | str) for item in value):
        text = ",".join(shown(item) for item in value[:_SHOWN]) or "(an empty list)"
    else:
        text = f"(a {type(value).__name__})"  # never its content: a YAML file can make that endless
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def convert(spec: Spec, value: Any, where: str = "") -> Any:
    """`value` as the option's type, within what it allows. Raises UsageError naming option, value and what is
    allowed, after `where` (a file, for example)."""
    try:
        result = _convert(spec, value)
    except (ValueError, OverflowError):
        raise UsageError(f"{where}{spec.flag} {shown(value)}: {spec.allowed()}") from None
    instead = result is not None and (spec.option.unavailable.get("*") or spec.option.unavailable.get(str(result)))
    if instead:
        from ddarts import __version__

        raise UsageError(f"{where}{spec.flag} {shown(value)}: not in this version ({__version__}); {instead}")
    return result


def _convert(spec: Spec, value: Any) -> Any:
    if spec.optional and value is None:
        return None
    if spec.many:
        items = value.split(",") if isinstance(value, str) else value
        items = [items] if isinstance(items, int) else items
        if not isinstance(items, list | tuple) or not items:
            raise ValueError
        flat = [part for item in items for part in (item.split(",") if isinstance(item, str) else [item])]
        return tuple(_one(spec, item) for item in flat)
    return _one(spec, value)


def _one(spec: Spec, value: Any) -> Any:
    """One value of the option's kind; ValueError where it is not allowed."""
    if spec.kind is bool:
        if not isinstance(value, bool):
            raise ValueError
        return value
    if spec.kind is str:
        return _text(spec, value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
        raise ValueError
    number = _number(spec, value)
    details = spec.option
    refused = (
        (details.minimum is not None and number < details.minimum)
        or (details.maximum is not None and number > details.maximum)
        or (details.exclusive_minimum is not None and number <= details.exclusive_minimum)
        or (details.exclusive_maximum is not None and number >= details.exclusive_maximum)
        or (details.even and number % 2)
    )
    if refused:
        raise ValueError
    return number


def _number(spec: Spec, value: Any) -> int | float:
    if isinstance(value, str) and ("_" in value or not value.isascii()):  # Python takes 1_000 and ٣; no shell does
        raise ValueError
    if spec.kind is int:
        if isinstance(value, str):
            return int(value)
        if value != int(value):
            raise ValueError
        return int(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _text(spec: Spec, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = str(value)  # YAML reads a run called 7 as a number
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    if spec.option.choices and value not in spec.option.choices:
        raise ValueError
    return value
