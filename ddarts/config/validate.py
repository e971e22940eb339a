"""The check of a whole configuration, before anything is allocated."""

import dataclasses
from typing import Any, TypeVar

from ddarts.config.options import specs
from ddarts.config.values import convert
from ddarts.runtime.errors import UsageError

Config = TypeVar("Config")


def validate(config: Config) -> Config:
    """`config` with every value of its proper type. Raises UsageError for the first value that is not allowed, or
    that another one contradicts: one line naming option, value and what is allowed."""
    values: dict[str, Any] = {}
    for name, spec in specs(type(config)).items():
        value = convert(spec, getattr(config, name))
        if value is None and spec.option.required:
            raise UsageError(f"{spec.flag} is missing: {spec.option.required}")
        values[name] = value
    checked = dataclasses.replace(config, **values)  # type: ignore[type-var]
    for problem in getattr(checked, "conflicts", tuple)():
        raise UsageError(problem)
    return checked
