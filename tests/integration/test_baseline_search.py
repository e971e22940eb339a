"""The search from a baseline as a user runs it, on 8x8 digits and cells of two nodes so that it takes seconds."""

import json
import os

import numpy as np
import pytest

import ddarts
from ddarts.config import DeriveConfig, EvaluateConfig, SearchConfig, TrainConfig
from ddarts.genotype import zoo
from ddarts.genotype.derive import derive
from ddarts.genotype.files import read
from ddarts.genotype.parse import parse
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.search import departure
from tests.bits import assert_same_bits

MINE = {
    "format": "ddarts-genotype", "version": 1, "name": "Mine", "space": "dartopti", "steps": 2, "concat": [2, 3],
    "reductions": [1], "sequence": [0, 1, 0],
    "cells": [[["skip_connect", 2, 0], ["sep_conv_3x3", 3, 2]], [["simple_conv_1x1", 2, 0], ["skip_connect", 3, 0]]],
}  # fmt: skip
TINY = {
    "dataset": "digits",
    "image_size": 8,
    "init_channels": 2,
    "multiplier": 2,
    "batch_size": 240,  # three steps an epoch
    "arch_baseline": "Mine",
    "pretrain_epochs": 2,
    "epochs": 2,
    "arch_learning_rate": 1.0,
    "report_freq": 1,
}
PRETRAINING = 6  # steps


@pytest.fixture
def run(tmp_path):
    """run(name, **options): a search from the baseline Mine below tmp_path."""
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "Mine.json").write_text(json.dumps(MINE))

    def search(name, **options):
        given = {**TINY, "baselines": str(tmp_path / "baselines"), **options}
        return ddarts.search(SearchConfig(out=str(tmp_path), save=name, **given))

    return search


def folder(tmp_path, name):
    return tmp_path / "search" / name


def rows(tmp_path, name, kind):
    lines = (folder(tmp_path, name) / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def final_state(tmp_path, name):
    return CheckpointStore(folder(tmp_path, name) / "checkpoints").load()[0]


def test_a_search_from_a_baseline_leaves_what_it_promises(tmp_path, run):
    result = run("run")
    arrays = np.load(folder(tmp_path, "run") / "alphas.npz")
    assert arrays["alphas"].shape == (2, 5, 12) and str(arrays["space"]) == "dartopti"
    assert (arrays["reductions"].tolist(), arrays["sequence"].tolist()) == ([1], [0, 1, 0])
    start = zoo.baseline("Mine", str(tmp_path / "baselines"))
    for file, method in (
        ("genotype", "threshold_sparse"),
        ("genotype_threshold_sparse", "threshold_sparse"),
        ("genotype_threshold_edge", "threshold_edge"),
    ):
        genotype = read(folder(tmp_path, "run") / f"{file}.json")
        assert genotype.cells == parse(arrays["alphas"], "dartopti", 2, method, 0.85)
        assert (genotype.sequence, genotype.reductions, genotype.space) == ((0, 1, 0), (1,), "dartopti")
        again = derive(DeriveConfig(alphas=result["run_dir"], parse_method=method))
        assert (again.cells, again.sequence, again.reductions) == (genotype.cells, (0, 1, 0), (1,))
        assert genotype.cells != start.cells
    learning = [row["learning_rate"] for row in rows(tmp_path, "run", "train")]
    assert len(set(learning)) == 4 and learning == sorted(learning, reverse=True)
    epochs = rows(tmp_path, "run", "epoch")
    assert ["marginal" in row for row in epochs] == [False, False, True, True]
    assert [len(row["marginal"]) for row in epochs[2:]] == [2, 2]  # one for each distinct cell
    alphas = [row["alphas"] for row in rows(tmp_path, "run", "alphas")]
    sigma = np.round(1 / (1 + np.exp(-np.float32([0, 10]))), 4).tolist()
    assert set(np.unique(np.float32(alphas[:2]))) == set(np.float32(sigma)) and alphas[2] != alphas[1]


@pytest.mark.parametrize("options", [{}, {"recipe": "official"}, {"single_level": True}])
def test_stopping_in_pretraining_and_in_the_search_and_resuming_ends_in_the_same_bits(tmp_path, run, options):
    run("whole", **options)
    resumed = {**options, "resume": str(folder(tmp_path, "parts"))}
    run("parts", **options, max_steps=4)  # in the middle of pretraining
    run("parts", **resumed, max_steps=PRETRAINING)
    run("parts", **resumed, max_steps=PRETRAINING + 2)  # in the middle of the search
    run("parts", **resumed)
    assert_same_bits(final_state(tmp_path, "whole"), final_state(tmp_path, "parts"))
    assert rows(tmp_path, "whole", "epoch") == rows(tmp_path, "parts", "epoch")
    one, other = ((folder(tmp_path, name) / "alphas.npz").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_a_search_that_has_settled_ends_early_in_the_same_bits_when_resumed(tmp_path, run, monkeypatch, caplog):
    """The distances are told instead of measured: five that agree come after eight epochs of search."""
    caplog.set_level("INFO", "ddarts")
    told = [0.5, 0.2, 0.2004, 0.2, 0.1996, 0.2, 0.9]

    def far(self, epoch, mixing):
        if self.baseline is not None and epoch >= self.first_epoch:
            self.distances.append(told[epoch - self.first_epoch])

    monkeypatch.setattr(departure.Departure, "observe", far)
    options = {"pretrain_epochs": 1, "epochs": 14, "cell_loss": "none", "batch_size": 720}  # a step an epoch
    assert run("whole", **options)["epochs"] == 12
    assert "distance to Mine 0.2000, which has settled: the search ends" in caplog.text
    assert [row.get("distance") for row in rows(tmp_path, "whole", "epoch")] == [None] * 6 + told[:6]
    run("parts", **options, max_steps=10)  # between the measurements
    run("parts", **options, resume=str(folder(tmp_path, "parts")))
    assert_same_bits(final_state(tmp_path, "whole"), final_state(tmp_path, "parts"))
    before = rows(tmp_path, "whole", "epoch")
    assert run("whole", **options, resume=str(folder(tmp_path, "whole")))["epochs"] == 12
    assert rows(tmp_path, "whole", "epoch") == before
    # Without the metric it goes on to its end.
    assert run("whole", **options, resume=str(folder(tmp_path, "whole")), no_arch_metric=True)["epochs"] == 15


def test_without_the_metric_nothing_is_measured(tmp_path, run):
    assert run("run", pretrain_epochs=0, epochs=7, no_arch_metric=True, cell_loss="none", batch_size=720)["epochs"] == 7
    assert not any("distance" in row for row in rows(tmp_path, "run", "epoch"))


def test_the_distance_is_measured_from_five_epochs_after_pretraining_on(tmp_path, run):
    run("run", pretrain_epochs=1, epochs=6, cell_loss="none", batch_size=720, arch_learning_rate=3.0)
    found = [row.get("distance") for row in rows(tmp_path, "run", "epoch")]
    assert found[:6] == [None] * 6 and 0 < found[6] < 1
    edge = read(folder(tmp_path, "run") / "genotype_threshold_edge.json")
    start = zoo.baseline("Mine", str(tmp_path / "baselines"))
    assert found[6] == departure.distance(start, edge).distance


def test_a_run_goes_on_from_the_same_baseline_only(tmp_path, run):
    run("run", max_steps=1)
    resumed = {"resume": str(folder(tmp_path, "run")), "max_steps": 2}
    moved = str(tmp_path / "elsewhere")
    os.rename(tmp_path / "baselines", moved)
    with pytest.raises(UsageError, match="--baselines .*: no such folder"):
        run("run", **resumed)
    run("run", **resumed, baselines=moved)
    other = {**MINE, "cells": [MINE["cells"][0], [["simple_conv_3x3", 2, 0], ["skip_connect", 3, 0]]]}
    (tmp_path / "elsewhere" / "Mine.json").write_text(json.dumps(other))
    with pytest.raises(DdartsError, match="its baseline Mine was another when the run began"):
        run("run", resume=str(folder(tmp_path, "run")), max_steps=3, baselines=moved)
    for name, value in (("pretrain_epochs", 1), ("baseline_wiring", "chain")):
        with pytest.raises(UsageError, match=f"--{name} {value}: the run in .* has"):
            run("run", **resumed, baselines=moved, **{name: value})


def test_before_alphas_have_moved_the_genotype_is_the_baseline_or_its_chain(tmp_path, run, caplog):
    caplog.set_level("INFO", "ddarts")
    for wiring, states in (("published", {0, 2}), ("chain", {1, 2})):
        caplog.clear()
        run(wiring, max_steps=1, baseline_wiring=wiring)
        genotype = read(folder(tmp_path, wiring) / "genotype.json")
        assert {gene.source for cell in genotype.cells for gene in cell} == states
        assert "distance to Mine: 0.0000 (its operations are those of the baseline)" in caplog.text
        assert ("cell 1 is dead" in caplog.text) is (wiring == "published")
        assert "every step belongs to pretraining" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet18", "ResNet50", "Xception", "InceptionV4"])
def test_from_every_published_baseline_to_a_trained_and_measured_network(tmp_path, name):
    options = {"init_channels": 2, "batch_size": 480, "multiplier": 4, "pretrain_epochs": 1, "epochs": 1}
    given = {**TINY, **options, "arch_baseline": name, "max_steps": 3}
    found = ddarts.search(SearchConfig(out=str(tmp_path), save=name, **given))
    baseline = zoo.baseline(name)
    genotype = derive(DeriveConfig(alphas=found["run_dir"], output=str(tmp_path / "mine.json")))
    assert (genotype.sequence, genotype.reductions, genotype.steps) == (
        baseline.sequence,
        baseline.reductions,
        baseline.steps,
    )
    small = {"dataset": "digits", "image_size": 8, "init_channels": 2, "batch_size": 480}
    trained = ddarts.train(
        TrainConfig(
            arch=str(tmp_path / "mine.json"),
            out=str(tmp_path),
            save=name,
            epochs=1,
            max_steps=2,
            baseline_wiring="chain",
            **small,
        )
    )
    shared = {"dataset": "digits", "image_size": 8}
    measured = ddarts.evaluate(EvaluateConfig(model_path=f"{trained['run_dir']}/last.safetensors", **shared))
    assert measured["images"] == 360 and measured["params"] == trained["params"]
    with pytest.raises(DdartsError, match="--baseline_wiring increasing: the weights in .* have chain"):
        ddarts.evaluate(
            EvaluateConfig(model_path=f"{trained['run_dir']}/last.safetensors", baseline_wiring="increasing", **shared)
        )
