"""`ddarts bench ops`: how accurate a small network is with each of the 12 operations; the weights of `ddarts distance`.

Every finished training is in the results file at once. A run that was stopped goes on from there, and one with more
seeds adds to it.
"""

import json
import logging
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ddarts.config import BenchConfig, TrainConfig
from ddarts.genotype.op_weights import published_weights
from ddarts.runtime.errors import UsageError
from ddarts.runtime.progress import Progress
from ddarts.space.primitives import DARTOPTI
from ddarts.train.build import TrainData
from ddarts_benchmarks import ops_plot
from ddarts_benchmarks.exchange import accuracy, read_data
from ddarts_benchmarks.registry import Outcome, Settings
from ddarts_benchmarks.results_file import SCHEMA, write

logger = logging.getLogger("ddarts.benchmarks")

SUBJECT = "ops"
LEARNING_RATE = 0.05
_KEPT = ("dataset", "image_size", "layers", "init_channels", "epochs", "batch_size", "learning_rate")

Training = dict[str, Any]


def measure(settings: Settings) -> Outcome:
    """Train every operation with every seed from 0 on that the results file does not have yet.

    UsageError where that file holds something else; DivergedError names operation and seed.
    """
    config = _config(settings)
    kept = _kept(config)
    trainings = load(settings.path, kept)
    wanted = [(seed, operation) for seed in range(settings.rounds) for operation in DARTOPTI.operations]
    done = {(training["seed"], training["operation"]) for training in trainings}
    missing = [pair for pair in wanted if pair not in done]
    if done:
        logger.info("%s: has %d trainings; %d are missing", settings.path, len(done), len(missing))
    data: dict[int, TrainData] = {}
    with Progress(len(missing) * config.epochs, "ops", report_freq=config.epochs) as progress:
        for seed, operation in missing:
            own = replace(config, seed=seed)
            if seed not in data:
                data = {seed: read_data(own, settings.device)}
            name = f"{operation}, seed {seed}"
            top1 = accuracy(operation, own, data[seed], settings.device, partial(progress.advance, description=name))
            trainings.append({"operation": operation, "seed": seed, "top1": top1})
            sofar = {"schema": SCHEMA, "subject": SUBJECT, "settings": kept, "trainings": trainings}
            write(settings.path, {**sofar, **(_summary(_rows(trainings)) if _seeds(trainings) else {})})
            progress.advance(description=name, accuracy=top1)
    rows = _rows(trainings)
    summary = {"settings": kept, "trainings": trainings, **_summary(rows)}
    return Outcome(rows, [], summary, partial(ops_plot.draw, summary["rank_correlation"]))


def _config(settings: Settings) -> TrainConfig:
    options: BenchConfig = settings.options
    return TrainConfig(
        dataset=options.dataset,
        data=options.data,
        download=options.download,
        image_size=options.image_size,
        layers=options.layers,
        init_channels=options.init_channels,
        epochs=1 if settings.quick else options.epochs,
        batch_size=options.batch_size,
        learning_rate=LEARNING_RATE,
        drop_path_prob=0.0,
    )


def _kept(config: TrainConfig) -> dict[str, Any]:
    """What makes a training what it is, beside operation and seed."""
    folder = ("data",) if config.dataset == "folder" else ()  # another folder, other images
    return {name: value for name, value in asdict(config).items() if name in (*_KEPT, *folder)}


def load(path: Path, kept: Mapping[str, Any]) -> list[Training]:
    """The trainings in the results file `path`, none where there is no file. UsageError where it holds something else,
    or trainings that `kept` does not describe."""
    if not path.exists():
        return []
    instead = "choose another --output, or remove it"
    try:
        found = json.loads(path.read_bytes())
        settings = found["settings"]
        trainings = [{key: training[key] for key in ("operation", "seed", "top1")} for training in found["trainings"]]
        sound = found["subject"] == SUBJECT and isinstance(settings, dict) and all(map(_is_sound, trainings))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise UsageError(f"{path}: holds no results of ddarts bench ops; {instead}")
    for name, value in kept.items():
        if settings.get(name) != value:
            raise UsageError(f"{path}: holds trainings with {name} {settings.get(name)}, not {value}; {instead}")
    return trainings


def _is_sound(training: Training) -> bool:
    operation, seed, top1 = training.values()
    return operation in DARTOPTI.operations and isinstance(seed, int) and 0 <= float(top1) <= 100


def _rows(trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """Each operation's accuracies with the seeds that all have, mean and standard deviation (n − 1)."""
    found = {(training["seed"], training["operation"]): training["top1"] for training in trainings}
    everywhere = _seeds(trainings)
    rows = []
    for operation in DARTOPTI.operations:
        values = [found[seed, operation] for seed in everywhere]
        rows.append(
            {
                "operation": operation,
                "seeds": everywhere,
                "top1": values,
                "mean": statistics.mean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "published": published_weights()[operation],
            }
        )
    return rows


def _seeds(trainings: Sequence[Training]) -> list[int]:
    """The seeds that all operations have, ascending."""
    found = {(training["seed"], training["operation"]) for training in trainings}
    return [seed for seed in sorted({s for s, _ in found}) if all((seed, op) in found for op in DARTOPTI.operations)]


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The weights for `ddarts distance --op_weights`, and how their order agrees with that of the published ones."""
    from scipy.stats import spearmanr

    means, published = zip(*((row["mean"], row["published"]) for row in rows), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all means equal: no order to compare, and the result is NaN
        found = float(spearmanr(means, published).statistic)
    return {
        "weights": {row["operation"]: row["mean"] for row in rows},
        "rank_correlation": found if found == found else None,
    }
