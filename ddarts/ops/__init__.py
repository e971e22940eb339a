"""Operators: schemas, which implementation runs, and the typed functions the rest of the package calls.

`mixed_sum`, `use_backend` and `table` are resolved at first use, so that importing this package needs no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddarts.ops.dispatch import table, use_backend
    from ddarts.ops.weighted import mixed_sum

__all__ = ["mixed_sum", "table", "use_backend"]

_HOMES = {"mixed_sum": "weighted", "table": "dispatch", "use_backend": "dispatch"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    importlib.import_module("ddarts.ops.weighted")  # registers the operators before anything asks about them
    value = getattr(importlib.import_module(f"ddarts.ops.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
