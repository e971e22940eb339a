"""One result: a contestant on a case, in numbers that runs on other machines can be compared by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddarts_benchmarks.timing import ratios, spread

Row = dict[str, Any]


@dataclass(frozen=True)
class Copy:
    """A plain copy that took turns with the contestants: bytes read + written, and its seconds."""

    nbytes: int
    seconds: Sequence[float]


def row(
    op: str,
    case: Mapping[str, Any],
    variant: str,
    contestant: str,
    seconds: Sequence[float],
    baseline: tuple[str, Sequence[float]],
    nbytes: int | None = None,
    copy: Copy | None = None,
) -> Row:
    """ratio: how many times faster than the baseline (None for the baseline). bytes: that the algorithm must move, None
    where they are not counted. share_of_copy: bytes a second as a part of those that a copy moves, None where the work
    is too little to be bound by them."""
    name, reference = baseline
    return {
        "id": f"{op}, {case['name']}, {variant}, {contestant}",
        "op": op,
        "case": dict(case),
        "variant": variant,
        "contestant": contestant,
        "seconds": spread(seconds),
        "bytes": nbytes,
        "share_of_copy": _share(nbytes, seconds, copy) if copy and nbytes else None,
        "baseline": name,
        "ratio": None if contestant == name else ratios(reference, seconds),
    }


def _share(nbytes: int, seconds: Sequence[float], copy: Copy) -> dict[str, float]:
    scale = nbytes / copy.nbytes
    return ratios([scale * s for s in copy.seconds], seconds)


def cost_of_remaining(
    seconds: Sequence[float], nbytes: int, full_seconds: Sequence[float], full_bytes: int
) -> dict[str, float]:
    """What a part costs, relative to its part of the bytes: 1 is in proportion."""
    return ratios([s * full_bytes / nbytes for s in seconds], full_seconds)
