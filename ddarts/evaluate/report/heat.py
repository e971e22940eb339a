"""σ(α) of a cell over the epochs as a picture without script: small multiples in the order of α itself.

One row for every edge, one column for every operation; within a field time runs from left to right, from the first
epoch to the last. Fields of the genotype have a frame.
Shapes: T epochs, S distinct cells, E edges, K operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from ddarts.space.topology import edges, steps_of

WIDTH = 352.0
LEFT, HEAD = 42.0, 44.0
ROW, GAP, BETWEEN_NODES = 13.0, 2.0, 6.0
LEVELS = 10  # shades, h0 to h10 in the style sheet
COLUMNS = 50  # most epochs that a field shows
_SHORT = {
    "max_pool": "max",
    "avg_pool": "avg",
    "skip_connect": "skip",
    "sep_conv": "sep",
    "dil_conv": "dil",
    "simple_conv": "conv",
    "bottleneck": "bottle",
    "conv": "pair",  # a row and a column convolution, one after the other
}


@dataclass(frozen=True)
class Panel:
    """The picture of one cell, and its last σ(α) [E, K] in words: rows of (edge, values, which of them are kept)."""

    positions: tuple[int, ...]
    svg: str
    story: str
    table: tuple[tuple[str, tuple[str, ...], tuple[bool, ...]], ...]


def panels(
    epochs: Sequence[int], history: NDArray, kept: NDArray, operations: Sequence[str], threshold: float
) -> list[Panel]:
    """A panel for every cell of `history` [T, S, E, K]; positions that share all of it share a panel.

    kept [S, E, K]: what the genotype holds, or, where there is none, what has passed the threshold.
    """
    if len(epochs) > COLUMNS:
        chosen = np.unique(np.linspace(0, len(epochs) - 1, COLUMNS).round().astype(int))
        epochs, history = [epochs[index] for index in chosen], history[chosen]
    groups: dict[bytes, list[int]] = {}
    for position in range(history.shape[1]):
        groups.setdefault(history[:, position].tobytes() + kept[position].tobytes(), []).append(position)
    return [
        _panel(tuple(positions), epochs, history[:, positions[0]], kept[positions[0]], operations, threshold)
        for positions in groups.values()
    ]


def short(operation: str) -> str:
    """An operation's name where space is scarce: sep_conv_3x3 → sep 3."""
    for beginning, word in _SHORT.items():
        if operation.startswith(beginning):
            sizes = operation.removeprefix(beginning).strip("_").replace("x", "_").split("_")
            return f"{word} {sizes[1] if len(sizes) == 3 else sizes[0]}".strip()
    return operation


def _panel(
    positions: tuple[int, ...],
    epochs: Sequence[int],
    values: NDArray,
    kept: NDArray,
    operations: Sequence[str],
    threshold: float,
) -> Panel:
    T, E, K = values.shape
    pairs = edges(steps_of(E))
    above, held = int((values[-1] >= threshold).sum()), int(kept.sum())
    story = (
        f"{above} of {E * K} operations at or above {threshold:g} after epoch {epochs[-1]}, {held} kept; "
        f"largest σ(α) {values[-1].max():.2f}, smallest {values[-1].min():.2f}"
    )
    tops = [HEAD + row * (ROW + GAP) + (to - 2) * BETWEEN_NODES for row, (to, _) in enumerate(pairs)]
    field = (WIDTH - LEFT) / K
    lefts = [LEFT + column * field for column in range(K)]
    parts = [_header(operations, lefts, field), _edge_names(pairs, tops)]
    parts += _shades(values, lefts, tops, field - GAP - 1)
    for row, (to, source) in enumerate(pairs):
        for column, operation in enumerate(operations):
            course = values[:, row, column]
            words = f"{to} ← {source}, {operation}: σ(α) {course[0]:.2f} → {course[-1]:.2f}"
            if kept[row, column]:
                words += ", kept"
            look = "field kept" if kept[row, column] else "field"
            parts.append(
                f'<rect class="{look}" x="{lefts[column]:.1f}" y="{tops[row]:g}" width="{field - GAP - 1:.1f}" '
                f'height="{ROW:g}"><title>{escape(words)}</title></rect>'
            )
    height = tops[-1] + ROW + 3
    name = f"σ(α) of cell {', '.join(map(str, positions))} over {T} epochs"
    svg = (
        f'<svg class="heat" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(name)}: {escape(story)}">{"".join(parts)}</svg>'
    )
    table = tuple(
        (f"{to} ← {source}", tuple(f"{value:.2f}" for value in values[-1, row]), tuple(map(bool, kept[row])))
        for row, (to, source) in enumerate(pairs)
    )
    return Panel(positions, svg, story, table)


def _header(operations: Sequence[str], lefts: Sequence[float], field: float) -> str:
    parts = []
    for operation, left in zip(operations, lefts, strict=True):
        x, y = left + field / 2 - 4, HEAD - 5
        parts.append(
            f'<text class="tick" transform="translate({x:.1f} {y:g}) rotate(-45)">{escape(short(operation))}'
            f"<title>{operation}</title></text>"
        )
    return "".join(parts)


def _edge_names(pairs: Sequence[tuple[int, int]], tops: Sequence[float]) -> str:
    return "".join(
        f'<text class="tick" x="{LEFT - 7:g}" y="{top + ROW - 3:g}" text-anchor="end">{to} ← {source}</text>'
        for (to, source), top in zip(pairs, tops, strict=True)
    )


def _shades(values: NDArray, lefts: Sequence[float], tops: Sequence[float], width: float) -> list[str]:
    """One path for every shade, made of the stretches of time that an operation spends in it."""
    T, E, K = values.shape
    levels = np.clip((values * LEVELS).round(), 0, LEVELS).astype(int)
    step = width / T
    paths: dict[int, list[str]] = {}
    for row in range(E):
        for column in range(K):
            course = levels[:, row, column]
            starts = [0, *(np.flatnonzero(np.diff(course)) + 1).tolist(), T]
            for first, end in zip(starts, starts[1:], strict=False):
                x, wide = lefts[column] + first * step, (end - first) * step
                shape = f"M{x:.2f} {tops[row]:g}h{wide:.2f}v{ROW:g}h-{wide:.2f}z"
                paths.setdefault(int(course[first]), []).append(shape)
    return [f'<path class="h{level}" d="{"".join(shapes)}"/>' for level, shapes in sorted(paths.items())]
