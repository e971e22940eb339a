"""The operations' accuracies: mean, standard deviation and single seeds; and beside them the published ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ddarts.evaluate.style import INK, MUTED, family

_SIZE, _DPI = (11.0, 4.6), 100


def draw(rank_correlation: float | None, rows: Sequence[Mapping[str, Any]], stem: Path, title: str) -> list[str]:
    """STEM.png: a bar for each operation, and a point for each over its published accuracy. Returns its path."""
    path = stem.with_name(f"{stem.name}.png")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=10)
        bars, points = figure.subplots(1, 2)
        ordered = sorted(rows, key=lambda row: row["mean"])
        for at, row in enumerate(ordered):
            look = {"color": family(row["operation"]).line, "ecolor": INK}
            bars.barh(at, row["mean"], xerr=row["std"], alpha=0.55, capsize=2, **look)
            bars.plot(row["top1"], [at] * len(row["top1"]), ".", color=INK, markersize=3)
            points.errorbar(row["published"], row["mean"], yerr=row["std"], fmt="o", elinewidth=0.6, **look)
            side = 1 if at % 2 else -1  # neighbours in accuracy are named on different sides
            place = {"xytext": (7 * side, 0), "textcoords": "offset points", "ha": "left" if side > 0 else "right"}
            points.annotate(
                row["operation"], (row["published"], row["mean"]), va="center", fontsize=6, color=MUTED, **place
            )
        bars.set_yticks(range(len(ordered)), [row["operation"] for row in ordered], fontsize=8)
        lowest = min(min(row["top1"]) for row in rows)
        bars.set_xlim(max(0.0, lowest - 0.1 * (100 - lowest) - 1), 100.5)
        bars.set_xlabel("test accuracy, %: mean ± standard deviation, points: seeds", fontsize=8)
        points.set_xlabel("published accuracy, %", fontsize=8)
        points.set_ylabel("test accuracy, %", fontsize=8)
        if rank_correlation is not None:
            points.set_title(f"rank correlation {rank_correlation:.2f}", fontsize=9, loc="left")
        for axes in (bars, points):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8)
        points.margins(x=0.25)
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    return [str(path)]
