"""Run folders as searches and trainings leave them, without a search or a training."""

import json
from pathlib import Path

import numpy as np

from ddarts.config import SearchConfig, TrainConfig, to_yaml
from ddarts.genotype.derive import derive
from ddarts.genotype.files import write
from ddarts.genotype.zoo import resolve
from ddarts.network.model import DerivedNetwork
from ddarts.network.weights import save_network
from ddarts.space.topology import num_edges

LOG = (
    "2026-11-24 16:09:46,076 INFO operators on cpu use the cpp backend\n"
    "2026-11-24 16:12:01,500 WARNING --data has no effect: the digits come with scikit-learn\n"
    "a line of another program\n"
)


def made_search(
    folder: Path,
    *,
    epochs: int = 5,
    layers: int = 5,
    operations: int = 7,
    decided: float = 8.0,
    floor: float = 0.0,
    done: bool = True,
    genotype: bool = True,
    **options,
) -> Path:
    """A search of made-up figures; α end between -`decided`/2 and `decided`/2."""
    folder.mkdir(parents=True)
    config = {"dataset": "digits", "save": folder.name, "layers": layers, "epochs": epochs, "op_threshold": 0.85}
    to_yaml(SearchConfig(**{**config, "arch_learning_rate": 0.2, **options}), folder / "config.yaml")
    draws = np.random.default_rng(0)
    target = (draws.random((layers, num_edges(4), operations)) - 0.5) * decided
    rows = []
    for epoch in range(epochs):
        share = (epoch + 1) / epochs
        alphas = 1 / (1 + np.exp(-target * share))
        step = (epoch + 1) * 20
        rows.append(_row("train", step, epoch, learning_rate=0.05, arch_learning_rate=0.2, loss=1.0, accuracy=50.0))
        rows.append(
            _row(
                "epoch",
                step,
                epoch,
                train_loss=2 / (1 + 9 * share),
                valid_loss=2.1 / (1 + 8 * share),
                valid_eval_loss=20.0 / (1 + 90 * share**2),
                train_acc=96 * share,
                valid_acc=94 * share,
                discretised_acc=10 + 5 * share,
                discretisation_gap=94 * share - 10 - 5 * share,
                zero_one=(-0.2 * share * np.ones(layers)).tolist(),
                marginal=(-share * (1 + np.arange(layers)) / layers).tolist(),
                ablation_floor=floor,
                above_threshold=int((alphas >= 0.85).sum()),
            )
        )
        rows.append(_row("alphas", step, epoch, alphas=np.round(alphas, 4).tolist()))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.savez(folder / "alphas.npz", alphas=1 / (1 + np.exp(-target)))
    (folder / "log.txt").write_text(LOG)
    if genotype:
        from ddarts.config import DeriveConfig

        write(derive(DeriveConfig(alphas=str(folder))), folder / "genotype.json")
    if done:
        (folder / "DONE").write_text(json.dumps({"run_dir": str(folder), "seconds_per_iteration": 0.25}))
    return folder


def made_training(folder: Path, accuracies=(20.0, 70.0, 95.0), **options) -> Path:
    """A training with these test accuracies, of DD-cifar10."""
    folder.mkdir(parents=True)
    config = {"dataset": "digits", "arch": "DD-cifar10", "save": folder.name, "epochs": len(accuracies)}
    to_yaml(TrainConfig(**{**config, "init_channels": 4, **options}), folder / "config.yaml")
    rows = []
    for epoch, accuracy in enumerate(accuracies):
        step = (epoch + 1) * 23
        rows.append(_row("train", step, epoch, loss=2.0 - epoch / 2, top1=accuracy - 1, lr=0.05, drop_path=0.1))
        rows.append(_row("test", step, epoch, top1=accuracy, top5=99.0, loss=1.5 - epoch / 3))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "log.txt").write_text(LOG)
    made = resolve("DD-cifar10")
    write(made, folder / "genotype.json")
    save_network(folder / "last.safetensors", DerivedNetwork(made, 10, 4), "digits")
    done = {"params": 1234567, "macs": 89_000_000, "images_per_second": 321.5}
    (folder / "DONE").write_text(json.dumps(done))
    return folder


def _row(kind: str, step: int, epoch: int, **values) -> dict:
    return {"kind": kind, "step": step, "epoch": epoch, **values}
