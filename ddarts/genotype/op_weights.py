"""What each of the 12 operations weighs in a distance: its accuracy when a small network is made of it.

`op_accuracy.json` holds the published values. `ddarts bench ops` measures others, and its results can be read here.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ddarts.config.files import read_json
from ddarts.config.values import shown
from ddarts.runtime.errors import UsageError
from ddarts.space.primitives import DARTOPTI

MAX_BYTES = 4 * 2**20
KEY = "weights"  # where the results of `ddarts bench ops` have them


@cache
def published_weights() -> Mapping[str, float]:
    """The published accuracy of every operation, in per cent."""
    return json.loads((resources.files(__package__) / "op_accuracy.json").read_text(encoding="utf-8"))


def read_weights(path: str | Path) -> dict[str, float]:
    """The weights in a JSON file: an object of operation → number, or results of `ddarts bench ops`.

    UsageError, naming the file, where it cannot be read or does not give every operation a weight.
    """
    where = f"--op_weights {path}"
    found = read_json("--op_weights", path, "weights are", MAX_BYTES)
    if isinstance(found, dict) and found.get("subject") == "ops" and KEY not in found:
        raise UsageError(f"{where}: has no weights yet; finish it with ddarts bench ops")
    weights = found.get(KEY, found) if isinstance(found, dict) else found
    if not isinstance(weights, dict):
        raise UsageError(f"{where}: an object of operation: number is expected")
    return check_weights(weights, where)


def check_weights(weights: Mapping[str, Any], where: str) -> dict[str, float]:
    """`weights` if all 12 operations have a number of at least 0, and not all 0; else UsageError naming `where`."""
    missing = [op for op in DARTOPTI.operations if op not in weights]
    if missing:
        raise UsageError(f"{where}: no weight for {', '.join(missing)}")
    unknown = [op for op in weights if op not in DARTOPTI.operations]
    if unknown:
        raise UsageError(f"{where}: {shown(unknown[0])} is not one of the {len(DARTOPTI)} operations")
    for op, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e300:
            raise UsageError(f"{where}: {op} is {shown(value)}: a number of at least 0 is expected")
    if not any(weights.values()):
        raise UsageError(f"{where}: all are 0: at least one operation must count")
    return dict(weights)
