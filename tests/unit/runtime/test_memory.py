"""Too little memory: one line that says what was asked for, how much that takes, and what to lower."""

import json
from pathlib import Path

import pytest
import torch

import ddarts
from ddarts.config import SearchConfig, TrainConfig
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.memory import estimate, explained
from ddarts.search import phases
from ddarts.search.build import build_searcher
from ddarts.search.memory import bytes_needed
from ddarts.train.build import build_trainer, settle
from ddarts.train.step import Stepper

CPU = torch.device("cpu")
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
TINY = {"dataset": "digits", "image_size": 8, "init_channels": 2, "batch_size": 64, "epochs": 1, "device": "cpu"}


def test_an_allocation_that_fails_is_explained():
    line = r"--batch_size 96 at --init_channels 36 \(about 3\.0 GiB\): lower one of them, or use --accumulate"
    with pytest.raises(DdartsError, match=line), explained(96, 36, lambda: 3 * 2**30, "--accumulate"):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="shape"):  # anything else is no business of it
        with explained(96, 36, lambda: pytest.fail("estimated"), ""):
            torch.ones(2).view(3)
    assert estimate(1000, 10, 8, "fp32") == 4 * 8000 + 120 and estimate(1000, 10, 8, "bf16") == 2 * 8000 + 120


def refused(*_arguments, **_options):
    """Fail as torch does on a CPU."""
    return torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("supernet", "storage", "otherwise"),
    [
        ("reference", "float32", "--accumulate"),
        ("fused", "float32", "--accumulate or --activation_storage half"),
        ("fused", "half", "--accumulate"),
    ],
)
def test_a_search_that_runs_out_of_memory_says_what_it_takes(tmp_path, monkeypatch, supernet, storage, otherwise):
    monkeypatch.setattr(phases.Bilevel, "run", refused)
    line = rf"--batch_size 64 at --init_channels 2 \(about \d+\.\d GiB\): lower one of them, or use {otherwise}$"
    size = {"layers": 3, "steps": 2, "multiplier": 2, "supernet": supernet, "activation_storage": storage}
    with pytest.raises(DdartsError, match=line):
        ddarts.search(SearchConfig(out=str(tmp_path), **size, **TINY))


def test_a_training_that_runs_out_of_memory_says_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(Stepper, "step", refused)
    line = r"--batch_size 64 at --init_channels 2 \(about \d+\.\d GiB\): lower .* --accumulate or --precision bf16$"
    with pytest.raises(DdartsError, match=line):
        ddarts.train(TrainConfig(arch="DD-cifar10", out=str(tmp_path), **TINY))


@pytest.mark.parametrize(("supernet", "measured"), [("reference", "exact_reference"), ("fused", "ours")])
def test_the_estimate_of_a_search_is_near_what_was_measured(supernet, measured):
    """Of `ddarts bench search`: 8 cells, 16 channels, batch 16 of 32x32."""
    known = json.loads((RESULTS / "search.json").read_text())["peak_memory"][measured]
    config = SearchConfig(dataset="cifar10", layers=8, steps=4, init_channels=16, batch_size=16, supernet=supernet)
    searcher = build_searcher(config, 10, CPU)
    found = bytes_needed(config, searcher, "fp32")
    assert 0.6 < found / known < 1.6
    halved = SearchConfig(**{**vars(config), "accumulate": 2})
    assert bytes_needed(halved, searcher, "fp32") < 0.6 * found
    if supernet == "fused":
        stored = SearchConfig(**{**vars(config), "activation_storage": "half"})
        assert 0.5 < bytes_needed(stored, build_searcher(stored, 10, CPU), "fp32") / found < 0.75  # 438 of 683 MiB


@pytest.mark.parametrize(("name", "precision"), [("ours", "fp32"), ("ours_bf16", "bf16")])
@pytest.mark.parametrize("arch", ["DD-4", "DO-ResNet18"])
def test_the_estimate_of_a_training_is_near_what_was_measured(arch, name, precision):
    """Of `ddarts bench train`: the article's channels, batch 16 of 32x32."""
    known = json.loads((RESULTS / "train.json").read_text())["cases"][f"{arch}, batch 16"]["peak_memory"][name]
    config = TrainConfig(arch=arch, dataset="cifar10", batch_size=16, precision=precision, device="cpu")
    trainer = build_trainer(config, settle(config), 10, 32)
    assert 0.6 < estimate(trainer.activations, trainer.cost.params, 16, precision) / known < 1.6
