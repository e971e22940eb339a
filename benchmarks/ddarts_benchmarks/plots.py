"""Bars by case and contestant: how many times faster than the baseline, and what part of a copy's bandwidth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ddarts_benchmarks.rows import Row

# Okabe and Ito's hues; the baseline is the line at 1.
_COLOURS = {
    "eager": "#6b7280",
    "torch.compile": "#b4588f",
    "reference": "#4fa8d8",
    "cpp": "#0068a8",
    "triton": "#d55e00",
    "cuda": "#00835f",
    "published": "#6b7280",
    "published_channels_last": "#b4588f",
    "exact_reference": "#4fa8d8",
    "exact_compiled_sums": "#3a7d44",
    "ours": "#0068a8",
    "ours_bf16": "#00835f",
    "ours_half": "#00835f",
    "ours_without_graphs": "#d55e00",
    "dataloader": "#6b7280",
    "torchvision": "#b4588f",
    "resident": "#0068a8",
    "dali": "#00835f",
}
_WIDTH, _HEIGHT, _DPI = 8.0, 2.6, 100  # inches of a panel, pixels an inch
_CROWDED = 6  # cases beside each other, beyond which their names are written smaller


def draw(rows: Sequence[Row], stem: Path, title: str) -> list[str]:
    """STEM-OPERATOR.png for every operator: a line of panels for each variant. Returns the paths."""
    drawn = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for op in dict.fromkeys(row["op"] for row in rows):
            path = stem.with_name(f"{stem.name}-{op}.png")
            figure = _sheet([row for row in rows if row["op"] == op], f"{op}. {title}")
            figure.savefig(path, dpi=_DPI, metadata={"Software": None})
            drawn.append(str(path))
    return drawn


def draw_factors(
    summaries: Mapping[str, Mapping[str, Any]],
    _rows: Sequence[Row],
    stem: Path,
    title: str,
    label: str = "how many times faster ours is",
) -> list[str]:
    """STEM-ratios.png: the ratios of each contestant, which `label` explains, a panel for each case."""
    path = stem.with_name(f"{stem.name}-ratios.png")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(summaries) + 1), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=9)
        lines = [len(summary["ratios"]) for summary in summaries.values()]
        panels = figure.subplots(len(summaries), 1, squeeze=False, sharex=True, height_ratios=lines)[:, 0]
        for axes, (case, summary) in zip(panels, summaries.items(), strict=True):
            names, found = zip(*summary["ratios"].items(), strict=True)
            medians = [ratio["median"] for ratio in found]
            whiskers = [[r["median"] - r["min"] for r in found], [r["max"] - r["median"] for r in found]]
            colours = [_COLOURS.get(name) for name in names]
            bars = axes.barh([name.replace("_", " ") for name in names], medians, xerr=whiskers, color=colours)
            axes.bar_label(bars, [f"{median:.1f}" for median in medians], padding=6, fontsize=8)
            axes.axvline(1, color="#1c1f24", linewidth=0.8)
            axes.margins(x=0.1)
            axes.invert_yaxis()
            axes.set_title(case, fontsize=9, loc="left")
        panels[-1].set_xlabel(label, fontsize=8)
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    return [str(path)]


def draw_rates(summaries: Mapping[str, Mapping[str, Any]], _rows: Sequence[Row], stem: Path, title: str) -> list[str]:
    """STEM-rates.png: images a second (left) and CPU time an image (right) of each loader, a line for each case."""
    path = stem.with_name(f"{stem.name}-rates.png")
    measures = (("images_per_second", "images a second"), ("cpu_microseconds_per_image", "CPU time an image, µs"))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(2 * _WIDTH * 0.75, 1.3 * len(summaries) + 1), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=9)
        grid = figure.subplots(len(summaries), 2, squeeze=False)
        for line, (case, summary) in zip(grid, summaries.items(), strict=True):
            for axes, (measure, label) in zip(line, measures, strict=True):
                names, found = zip(*summary[measure].items(), strict=True)
                medians = [values["median"] for values in found]
                whiskers = [[v["median"] - v["min"] for v in found], [v["max"] - v["median"] for v in found]]
                bars = axes.barh(names, medians, xerr=whiskers, color=[_COLOURS.get(name) for name in names])
                axes.bar_label(bars, [f"{median:,.0f}" for median in medians], padding=6, fontsize=8)
                axes.margins(x=0.18)
                axes.invert_yaxis()
                axes.tick_params(labelsize=7)
                axes.set_title(f"{case}: {label}", fontsize=8, loc="left")
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    return [str(path)]


def draw_breakdown(kernels: Sequence[Mapping[str, Any]], _rows: Sequence[Row], stem: Path, title: str) -> list[str]:
    """STEM-breakdown.png: the time of each cell by kernel, stacked to 100 %, a panel for each phase."""
    path = stem.with_name(f"{stem.name}-breakdown.png")
    cells, phases, names = (list(dict.fromkeys(line[key] for line in kernels)) for key in ("cell", "phase", "kernel"))
    colours = {name: matplotlib.colormaps["tab20"](at) for at, name in enumerate(names)}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(_WIDTH * 1.4, (0.25 * len(cells) + 0.6) * len(phases) + 1.5), layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=9)
        panels = figure.subplots(len(phases), 1, squeeze=False, sharex=True)[:, 0]
        for axes, phase in zip(panels, phases, strict=True):
            left = dict.fromkeys(cells, 0.0)
            chosen = [line for line in kernels if line["phase"] == phase]
            whole = {cell: sum(x["seconds"]["median"] for x in chosen if x["cell"] == cell) for cell in cells}
            for line in chosen:
                cell, width = line["cell"], line["seconds"]["median"] / whole[line["cell"]]
                axes.barh(cells.index(cell), width, left=left[cell], color=colours[line["kernel"]])
                left[cell] += width
            axes.set_yticks(range(len(cells)), [f"{cell}: {1e3 * whole[cell]:.1f} ms" for cell in cells], fontsize=7)
            axes.invert_yaxis()
            axes.set_title(phase, fontsize=9, loc="left")
        panels[-1].set_xlabel("part of the fused cell's time", fontsize=8)
        patches = [Patch(color=colours[name], label=name) for name in names]
        figure.legend(handles=patches, fontsize=7, frameon=False, loc="outside lower center", ncols=4)
        figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    return [str(path)]


def _sheet(rows: Sequence[Row], title: str) -> Figure:
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    measures = ["ratio"] + (["share_of_copy"] if any(row["share_of_copy"] for row in rows) else [])
    figure = Figure(figsize=(_WIDTH * len(measures), _HEIGHT * len(variants) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.subplots(len(variants), len(measures), squeeze=False)
    for line, variant in zip(grid, variants, strict=True):
        for axes, measure in zip(line, measures, strict=True):
            _panel(axes, [row for row in rows if row["variant"] == variant and row[measure]], measure)
            axes.set_title(variant, fontsize=9, loc="left")
    return figure


def _panel(axes: Axes, rows: Sequence[Row], measure: str) -> None:
    """Bars to the median, whiskers from min to max."""
    cases = list(dict.fromkeys(row["case"]["name"] for row in rows))
    contestants = list(dict.fromkeys(row["contestant"] for row in rows))
    width = 0.8 / max(1, len(contestants))
    for at, contestant in enumerate(contestants):
        chosen = [row for row in rows if row["contestant"] == contestant]
        places = [cases.index(row["case"]["name"]) + (at + 0.5) * width - 0.4 for row in chosen]
        medians = [row[measure]["median"] for row in chosen]
        below = [row[measure]["median"] - row[measure]["min"] for row in chosen]
        above = [row[measure]["max"] - row[measure]["median"] for row in chosen]
        colour = _COLOURS.get(contestant)
        axes.bar(places, medians, width, yerr=[below, above], ecolor="#5b6470", color=colour, label=contestant)
    axes.axhline(1, color="#1c1f24", linewidth=0.8)
    labels = [case.replace(", ", "\n", 1).removesuffix(" float32") for case in cases]
    axes.set_xticks(range(len(cases)), labels, fontsize=5 if len(cases) > _CROWDED else 6)
    faster = f"times as fast as {rows[0]['baseline']}" if rows else ""
    axes.set_ylabel(faster if measure == "ratio" else "part of a copy's bandwidth", fontsize=8)
    if rows:
        axes.legend(fontsize=7, frameon=False)
