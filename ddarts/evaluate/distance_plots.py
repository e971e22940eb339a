"""Distances as pictures: bars for the cells of two architectures, a heat map for the pairs of many.

The same values give the same bytes.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ddarts.evaluate.canvas import settings
from ddarts.evaluate.style import INK, MUTED, SEPARABLE

_DPI = 150
_MAP = "cividis"  # from dark to light in any print, and for colour-blind readers
_MANY = 30  # architectures beyond which numbers in the fields are too small to read


def cell_bars(title: str, cells: Sequence[float], mean: float, form: str) -> bytes:
    """A bar for every pair of cells, and a line at their mean; `form` is png or svg."""

    def fill(axes: Axes) -> None:
        bars = axes.bar(range(len(cells)), cells, color=SEPARABLE.line)
        if len(cells) <= _MANY:
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # the line must not cross the numbers
            axes.bar_label(bars, [f"{value:.3f}" for value in cells], padding=3, fontsize=7, bbox=paper)
            axes.set_xticks(range(len(cells)))
        axes.axhline(mean, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=2)
        axes.margins(y=0.12)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("cell")
        axes.set_ylabel("distance")
        axes.set_title(f"{title}: {mean:.4f}", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)

    return _drawn((min(16.0, 3.6 + 0.5 * len(cells)), 3.2), fill, form)


def heat_map(names: Sequence[str], matrix: Sequence[Sequence[float]], form: str, strict: bool) -> bytes:
    """A field for every pair of architectures, in the given order; `form` is png or svg."""
    values, count = np.array(matrix), len(names)
    highest = float(values.max()) or 1.0

    def fill(axes: Axes) -> None:
        image = axes.imshow(values, cmap=_MAP, vmin=0, vmax=highest)
        axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(count), names, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if count <= _MANY:
            for (row, column), value in np.ndenumerate(values):
                colour = INK if value > 0.5 * highest else "white"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=8, color=MUTED)
        how = "cells without a partner count as 1" if strict else "cells are paired up to the shorter list"
        axes.set_title(f"distance; {how}", fontsize=10, loc="left")

    side = min(20.0, 3.5 + 0.42 * count)
    return _drawn((side + 1, side), fill, form)


def _drawn(inches: tuple[float, float], fill: Callable[[Axes], None], form: str) -> bytes:
    with settings():
        figure = Figure(figsize=inches, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        fill(figure.add_subplot())
        buffer = io.BytesIO()
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        figure.savefig(buffer, format=form, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()
