"""Operators: schemas, which implementation runs, and the typed functions the rest of the package calls.

Everything is resolved at first use, so that importing this package needs no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddarts_kernels.mixed_sum.reference import Norm

    from ddarts.ops.dispatch import table, use_backend
    from ddarts.ops.thresholding import threshold
    from ddarts.ops.weighted import mixed_sum, mixed_sum_with_statistics

__all__ = ["Norm", "mixed_sum", "mixed_sum_with_statistics", "table", "threshold", "use_backend"]

_HOMES = {
    "Norm": "weighted",
    "mixed_sum": "weighted",
    "mixed_sum_with_statistics": "weighted",
    "threshold": "thresholding",
    "table": "dispatch",
    "use_backend": "dispatch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    for home in ("weighted", "staging", "thresholding"):  # registers the operators before anything asks about them
        importlib.import_module(f"ddarts.ops.{home}")
    value = getattr(importlib.import_module(f"ddarts.ops.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
