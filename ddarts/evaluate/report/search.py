"""What the page of a search shows beside its architecture: figures, curves, σ(α), marginal contributions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddarts.evaluate.report.charts import Chart, Series, Tile, chart, number
from ddarts.evaluate.report.findings import floor_shares
from ddarts.evaluate.report.heat import Panel, panels
from ddarts.evaluate.report.rundata import Points, RunData
from ddarts.search.schedule import Schedule
from ddarts.space.primitives import SPACES
from ddarts.space.topology import edge_index, steps_of

KINDS = ("epoch", "end")


@dataclass(frozen=True)
class Bar:
    """A cell's last marginal contribution, and where its bar lies, in per cent of the track. Help points right."""

    cell: int
    value: float
    left: float
    width: float


def context(run: RunData) -> dict[str, Any]:
    """Everything the template of a search needs of `run`."""
    history = run.alphas
    found = _operations(history[1]) if history is not None else None
    return {
        "tiles": _tiles(run, history),
        "charts": _charts(run),
        "epochs": _epochs(run),
        "heat": [] if history is None or found is None else _heat(run, history, found),
        "operations": found or (),
        "size": _size(run, history if found else None),
        "bars": _bars(run),
        "contributions": _contributions(run),
        "floor": floor_shares(run),
        "accuracy": "not trained",
    }


def _operations(history: NDArray) -> tuple[str, ...] | None:
    """The operations of the space that has as many, None where α belong to no space or no cell."""
    try:
        steps_of(history.shape[2])
    except ValueError:
        return None
    return next((space.operations for space in SPACES.values() if len(space) == history.shape[3]), None)


def _size(run: RunData, history: tuple[list[int], NDArray] | None) -> str:
    """How large the search network is. A search from a baseline has its cells and nodes from there."""
    options = run.options
    cells = options.layers or (run.genotype.layers if run.genotype else None)
    steps = options.steps or (steps_of(history[1].shape[2]) if history is not None else None)
    known = [f"{cells} cells"] if cells else []
    known += [f"{steps} nodes a cell"] if steps else []
    return " · ".join([*known, f"{options.init_channels} channels"])


def _tiles(run: RunData, history: tuple[list[int], NDArray] | None) -> list[Tile]:
    tiles = []
    valid, discretised = run.last("valid_acc", *KINDS), run.last("discretised_acc", *KINDS)
    if valid is not None:
        tiles.append(Tile("Validation accuracy", f"{valid:.2f} %", "of the search network, on the half that moves α"))
    if discretised is not None:
        tiles.append(Tile("Discretised", f"{discretised:.2f} %", "kept operations alone, weights not retrained"))
    if run.genotype is not None:
        count = sum(len(run.genotype.position(index)) for index in range(run.genotype.layers))
        distinct = len(run.genotype.cells)
        hint = f"in {run.genotype.layers} cells" + (f", {distinct} distinct" if distinct != run.genotype.layers else "")
        tiles.append(Tile("Operations kept", f"{count}", hint))
    if history is not None:
        above = int((history[1][-1] >= run.options.op_threshold).sum())
        hint = f"of {history[1][-1].size} have σ(α) ≥ {run.options.op_threshold:g}"
        tiles.append(Tile("Above the threshold", f"{above}", hint))
    done = len(run.of("epoch"))
    pretraining = Schedule(run.options).pretraining
    hint = f"of {pretraining + run.options.epochs}" + (f", {pretraining} on weights alone" if pretraining else "")
    tiles.append(Tile("Epochs", f"{done}", hint))
    seconds = (run.done or {}).get("seconds_per_iteration")
    if isinstance(seconds, float):
        tiles.append(Tile("Seconds an iteration", number(seconds), "of weights and α together"))
    return tiles


def _charts(run: RunData) -> list[Chart]:
    def series(title: str, name: str, look: str) -> Series:
        return Series(title, run.series(name, *KINDS), look)

    rates = [
        Series(name, [(row["step"], row[key]) for row in run.of("train") if isinstance(row.get(key), float)], look)
        for name, key, look in (("weights", "learning_rate", "train"), ("α", "arch_learning_rate", "kept"))
    ]
    drawn = (
        chart(
            "loss",
            "Loss",
            [
                series("training half", "train_loss", "train"),
                series("half that moves α", "valid_loss", "valid"),
                series("the same, evaluated", "valid_eval_loss", "other"),
            ],
            note="Cross entropy. Evaluated: after the epoch, with the running statistics of the normalisation.",
        ),
        chart(
            "accuracy",
            "Accuracy and discretisation gap",
            [
                series("training half", "train_acc", "train"),
                series("search network", "valid_acc", "valid"),
                series("discretised", "discretised_acc", "kept"),
            ],
            note="In per cent. The shaded gap is what is lost by dropping the operations that the genotype drops, "
            "before the network is trained anew; a large one is usual.",
            percent=True,
            between=(1, 2),
        ),
        chart(
            "decided",
            "Zero-one loss",
            [Series("mean of all cells", _means(run, "zero_one"), "train")],
            note="How decided σ(α) is: 0 where every value is one half, lower the closer they are to 0 and 1.",
        ),
        chart(
            "above",
            "Operations at or above the threshold",
            [series(f"σ(α) ≥ {run.options.op_threshold:g}", "above_threshold", "kept")],
            note="Of these the parse method keeps some on every edge or node.",
        ),
        chart("rates", "Learning rates", rates, x_name="step"),
        chart(
            "distance",
            "Distance to the baseline",
            [series("threshold_edge parse", "distance", "train")],
            note="0: the architecture that the search started from.",
        ),
    )
    return [found for found in drawn if found is not None]


def _means(run: RunData, name: str) -> Points:
    """The mean over the cells of a list that every epoch logs."""
    return [(row["epoch"] + 1, float(np.mean(values))) for row, values in _lists(run, name)]


def _lists(run: RunData, name: str) -> list[tuple[dict, NDArray]]:
    """Rows with a list of finite numbers called `name`, all as long as the last one."""
    found = []
    for row in run.of(*KINDS):
        try:
            values = np.asarray(row.get(name), dtype=np.float64)
        except (ValueError, TypeError):
            continue
        if values.ndim == 1 and values.size and np.isfinite(values).all():
            found.append((row, values))
    return [(row, values) for row, values in found if values.size == found[-1][1].size]


def _epochs(run: RunData) -> list[tuple[str, ...]]:
    """The table behind the curves."""
    names = ("train_loss", "valid_loss", "train_acc", "valid_acc", "discretised_acc", "discretisation_gap")
    rows = []
    for row in run.of(*KINDS):
        values = [row.get(name) for name in names]
        texts = [f"{value:.3f}" if isinstance(value, float) else "–" for value in values[:2]]
        texts += [f"{value:.2f}" if isinstance(value, float) else "–" for value in values[2:]]
        rows.append((f"{row['epoch'] + 1}", *texts, str(row.get("above_threshold", "–"))))
    return rows


def _heat(run: RunData, history: tuple[list[int], NDArray], operations: tuple[str, ...]) -> list[Panel]:
    epochs, values = history
    return panels(epochs, values, _kept(run, values[-1], operations), operations, run.options.op_threshold)


def _kept(run: RunData, last: NDArray, operations: tuple[str, ...]) -> NDArray:
    """Which fields [S, E, K] to frame: those of the genotype, where it belongs to these α, else what is above the
    threshold."""
    genotype = run.genotype
    if genotype is None or len(genotype.cells) != len(last) or genotype.steps != steps_of(last.shape[1]):
        return last >= run.options.op_threshold
    kept = np.zeros(last.shape, dtype=bool)
    for index, cell in enumerate(genotype.cells):
        for gene in cell:
            if gene.op in operations:
                kept[index, edge_index(gene.to, gene.source), operations.index(gene.op)] = True
    return kept


def _bars(run: RunData) -> list[Bar]:
    found = _lists(run, "marginal")
    if not found:
        return []
    helps = -found[-1][1]
    low, high = min(0.0, helps.min()), max(0.0, helps.max())
    scale = 100 / ((high - low) or 1.0)
    return [
        Bar(cell, float(-help), float((min(0.0, help) - low) * scale), float(abs(help) * scale))
        for cell, help in enumerate(helps)
    ]


def _contributions(run: RunData) -> list[Chart]:
    found = _lists(run, "marginal")
    cells = found[-1][1].size if found else 0
    drawn = (
        chart(
            f"marginal-{cell}",
            f"Cell {cell}",
            [Series("marginal contribution", [(row["epoch"] + 1, float(v[cell])) for row, v in found], "train")],
            from_zero=True,
        )
        for cell in range(cells)
    )
    return [item for item in drawn if item is not None]
