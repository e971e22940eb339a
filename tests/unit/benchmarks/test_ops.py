"""`ddarts bench ops`: the host network, results and weights, going on after a stop, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ddarts_benchmarks import exchange, ops

from ddarts.cli import main
from ddarts.genotype.op_weights import published_weights, read_weights
from ddarts.genotype.schema import check
from ddarts.network.model import DerivedNetwork
from ddarts.space.primitives import DARTOPTI, Space

FILE = "ops-digits-quick.json"
SMALL = "bench ops --quick --init_channels 2 --layers 2 --image_size 8 --batch_size 512 --device cpu --output"


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only two operations are trained."""
    monkeypatch.setattr(ops, "DARTOPTI", Space("two", ("skip_connect", "simple_conv_3x3")))


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Nothing is trained: accuracies follow from the published ones and the seed. The trainings asked for, in order."""
    asked = []

    def accuracy(operation: str, config: Any, *_: Any) -> float:
        asked.append((operation, config.seed))
        return published_weights()[operation] + config.seed

    monkeypatch.setattr(ops, "accuracy", accuracy)
    return asked


@pytest.mark.parametrize("operation", DARTOPTI.operations)
def test_the_host_has_the_operation_at_every_exchanged_position_and_is_trainable(operation: str) -> None:
    genotype = check(exchange.host(operation, 3), operation)
    assert genotype.layers == 3 and genotype.reductions == (1, 2)
    model = DerivedNetwork(genotype, 10, 4)
    for cell in model.cells:
        assert {f"1_to_2_{operation}", f"2_to_3_{operation}"} < set(cell.edges)
        assert len(cell.edges) == 4
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("stop_at", [2, 4])  # within the first seed, and within the second
def test_a_run_that_was_stopped_goes_on_and_ends_in_the_same_numbers(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, two: None, stop_at: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*SMALL.split(), str(whole), "--rounds", "2"]) == 0
    calls, train = [], ops.accuracy

    def stopping(operation: str, config: Any, *others: Any) -> float:
        calls.append((operation, config.seed))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return train(operation, config, *others)

    monkeypatch.setattr(ops, "accuracy", stopping)
    assert main([*SMALL.split(), str(parts), "--rounds", "2"]) == 130
    stopped = json.loads((parts / FILE).read_text())
    assert [(t["operation"], t["seed"]) for t in stopped["trainings"]] == calls[: stop_at - 1]
    assert ("weights" in stopped) == (stop_at == 4)  # those of the first seed
    if stop_at == 2:
        assert main(["distance", "DD-4", "DD-4", "--op_weights", str(parts / FILE)]) == 2
        assert "has no weights yet; finish it with ddarts bench ops" in capsys.readouterr().err
    assert main([*SMALL.split(), str(parts), "--rounds", "2"]) == 0
    assert calls[stop_at] == calls[stop_at - 1] and len(calls) == 5  # the one that was stopped, once more
    expected, found = (json.loads((folder / FILE).read_text()) for folder in (whole, parts))
    assert found["results"] == expected["results"] and found["trainings"] == expected["trainings"]
    assert len({training["top1"] for training in found["trainings"]}) > 1


def test_results_are_means_over_seeds_and_weigh_distances(
    capsys: Any, tmp_path: Path, invented: list[tuple[str, int]]
) -> None:
    words = ["bench", "ops", "--device", "cpu", "--output", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(invented) == 36 and shown["rank_correlation"] == pytest.approx(1)
    assert shown["settings"]["image_size"] == 16 and shown["settings"]["epochs"] == 10
    row = shown["results"][4]
    published = published_weights()["skip_connect"]
    assert (row["operation"], row["seeds"], row["std"]) == ("skip_connect", [0, 1, 2], pytest.approx(1))
    assert row["mean"] == shown["weights"]["skip_connect"] == pytest.approx(published + 1)
    assert read_weights(shown["path"]) == shown["weights"]
    assert Path(shown["figures"][0]).read_bytes()[:4] == b"\x89PNG"
    assert main(["distance", "baseline_ResNet18", "baseline_ResNet50", "--op_weights", shown["path"]]) == 0
    assert main([*words, "--rounds", "4"]) == 0
    assert invented[36:] == [(operation, 3) for operation in DARTOPTI.operations]
    text = capsys.readouterr().out
    assert "84.97" in text and "mean ± standard deviation over 4 seeds" in text and shown["path"] in text


def test_seeds_that_only_some_operations_have_do_not_count(invented: list[tuple[str, int]], tmp_path: Path) -> None:
    words = ["bench", "ops", "--quick", "--device", "cpu", "--output", str(tmp_path)]
    assert main(words) == 0
    path = tmp_path / FILE
    found = json.loads(path.read_text())
    assert found["results"][0]["std"] is None and found["rank_correlation"] == pytest.approx(1)
    found["trainings"].append({"operation": "skip_connect", "seed": 5, "top1": 99.0})
    path.write_text(json.dumps(found))
    assert main(words) == 0
    again = json.loads(path.read_text())
    assert len(invented) == 12 and again["results"] == found["results"] and len(again["trainings"]) == 13


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "holds no results of ddarts bench ops; choose another --output, or remove it"),
        ('{"subject": "kernels", "settings": {}, "trainings": []}', "holds no results of ddarts bench ops"),
        (
            '{"subject": "ops", "settings": {}, "trainings": [{"operation": "x", "seed": 0, "top1": 1}]}',
            "holds no resu",
        ),
        ('{"subject": "ops", "settings": {}, "trainings": [{"seed": 0}]}', "holds no results of ddarts bench ops"),
        ('{"subject": "ops", "settings": [], "trainings": []}', "holds no results of ddarts bench ops"),
        ('{"subject": "ops", "settings": {"dataset": "digits"}, "trainings": []}', "holds trainings with image_size"),
    ],
)
def test_a_file_of_something_else_is_kept(
    capsys: Any, tmp_path: Path, invented: list[tuple[str, int]], content: str, says: str
) -> None:
    path = tmp_path / FILE
    path.write_text(content)
    assert main(["bench", "ops", "--quick", "--device", "cpu", "--output", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"ddarts: error: {path}: {says}") and err.count("\n") == 1
    assert path.read_text() == content and not invented


def test_other_settings_are_not_mixed_in(capsys: Any, tmp_path: Path, invented: list[tuple[str, int]]) -> None:
    words = ["bench", "ops", "--device", "cpu", "--output", str(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--epochs", "3"]) == 2
    assert "ops-digits.json: holds trainings with epochs 10, not 3; choose another" in capsys.readouterr().err
    assert len(invented) == 36


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("ops --compare {0}", "--compare {0}: compares speeds, and ops measures accuracies"),
        ("ops --dataset folder", "--dataset folder: needs --data FOLDER"),
        ("ops --dataset cifar10", "--dataset cifar10: say where it is with --data FOLDER"),
        ("ops --batch_size 1", "--batch_size 1: must be a whole number, at least 2"),
        ("ops --layers 0", "--layers 0: must be a whole number, at least 1"),
    ],
)
def test_a_wrong_request_is_one_line(capsys: Any, tmp_path: Path, words: str, says: str) -> None:
    earlier = tmp_path / "earlier.json"
    earlier.write_text("{}")
    assert main(["bench", *words.format(earlier).split(), "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert says.format(earlier) in err and err.splitlines()[-1].startswith("ddarts: error: ")


def test_options_of_ops_are_said_to_have_no_effect_elsewhere(capsys: Any, tmp_path: Path, tiny: Any) -> None:
    words = ["bench", "kernels", "--quick", "--device", "cpu", "--rounds", "1", "--output", str(tmp_path)]
    assert main([*words, "--epochs", "3"]) == 0
    assert "--epochs has no effect: it belongs to ddarts bench ops" in capsys.readouterr().err
