"""What the page of a training shows beside its architecture: figures and curves."""

from typing import Any

from ddarts.evaluate.report.charts import Chart, Series, Tile, chart
from ddarts.evaluate.report.rundata import RunData


def context(run: RunData) -> dict[str, Any]:
    """Everything the template of a training needs of `run`."""
    last = run.last("top1", "test")
    return {
        "tiles": _tiles(run),
        "charts": _charts(run),
        "epochs": _epochs(run),
        "accuracy": "–" if last is None else f"{last:.2f} %",
    }


def _tiles(run: RunData) -> list[Tile]:
    tiles = []
    accuracies = [value for _, value in run.series("top1", "test")]
    if accuracies:
        tiles.append(Tile("Last test accuracy", f"{accuracies[-1]:.2f} %", "of the weights at the end"))
        tiles.append(Tile("Best", f"{max(accuracies):.2f} %", "selected on the test images"))
    for name, label in (("top5", "Last top-5"), ("ema_top1", "Moving average")):
        value = run.last(name, "test")
        if value is not None:
            tiles.append(Tile(label, f"{value:.2f} %", "on the test images"))
    tiles.append(Tile("Epochs", f"{len(run.of('test'))}", f"of {run.options.epochs}"))
    done = run.done or {}
    for name, label in (("params", "Parameters"), ("macs", "Multiply-accumulates")):
        if isinstance(done.get(name), int):
            value = f"{done[name]:,}" if done[name] < 1e5 else f"{done[name] / 1e6:.3g} M"
            tiles.append(Tile(label, value, "without the auxiliary classifier"))
    if isinstance(done.get("images_per_second"), float):
        tiles.append(Tile("Images a second", f"{done['images_per_second']:,.0f}", "in training, evaluation left out"))
    return tiles


def _charts(run: RunData) -> list[Chart]:
    ends = {row["epoch"]: row for row in run.of("train")}.values()  # the last row of an epoch has its means

    def trained(name: str) -> list[tuple[float, float]]:
        return [(row["epoch"] + 1, row[name]) for row in ends if isinstance(row.get(name), float)]

    drawn = (
        chart(
            "loss",
            "Loss",
            [
                Series("training images", trained("loss"), "train"),
                Series("test images", run.series("loss", "test"), "valid"),
                Series("moving average, test", run.series("ema_loss", "test"), "other"),
            ],
            note="Cross entropy; on the training images with label smoothing and augmentation, where these are used.",
        ),
        chart(
            "accuracy",
            "Accuracy",
            [
                Series("training images", trained("top1"), "train"),
                Series("test images", run.series("top1", "test"), "valid"),
                Series("test, top 5", run.series("top5", "test"), "other"),
                Series("moving average, test", run.series("ema_top1", "test"), "kept"),
            ],
            note="In per cent.",
            percent=True,
        ),
        chart("rates", "Learning rate", [Series("weights", trained("lr"), "train")]),
        chart(
            "drop_path",
            "Drop-path",
            [Series("probability of dropping a node's sum", trained("drop_path"), "train")],
        )
        if any(value for _, value in trained("drop_path"))
        else None,
    )
    return [found for found in drawn if found is not None]


def _epochs(run: RunData) -> list[tuple[str, ...]]:
    """The table behind the curves."""
    ends = {row["epoch"]: row for row in run.of("train")}
    rows = []
    for row in run.of("test"):
        before = ends.get(row["epoch"], {})
        values = (before.get("loss"), row.get("loss"), before.get("top1"), row.get("top1"), row.get("top5"))
        texts = [f"{value:.3f}" if isinstance(value, float) else "–" for value in values]
        rows.append((f"{row['epoch'] + 1}", *texts))
    return rows
