"""The benchmark of training steps: four contestants, their rows, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ddarts_benchmarks import memory, train
from ddarts_benchmarks.correct import WrongKernelError
from ddarts_benchmarks.published_training import PublishedTraining, accuracies, drop_path
from ddarts_benchmarks.trainings import Case, training

from ddarts.cli import main
from ddarts.network.fused import FusedCell
from ddarts.network.registry import create_model

CPU = torch.device("cpu")
TINY = Case("DD-cifar10", 4, channels=4, layers=8, side=8)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench train --quick` measures this case, and nobody starts another process."""
    monkeypatch.setattr(train, "QUICK", (TINY,))
    monkeypatch.setattr(memory, "peak", lambda *_: 1 << 20)


def test_rows_ratios_and_memory_are_written(capsys: Any, tmp_path: Path, tiny: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(train, "ALLOWED", {"ours": 1e-2})
    words = ["bench", "train", "--quick", "--device", "cpu", "--output", str(tmp_path), "--rounds", "2"]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    found = shown["cases"][str(TINY)]
    assert set(found["images_per_second"]) == set(found["peak_memory"]) == set(train.NAMES)
    assert set(found["ratios"]) == set(train.NAMES) - {"published"}
    assert [row["contestant"] for row in shown["results"]] == list(train.NAMES)
    assert shown["results"][2]["baseline"] == "published" and shown["results"][2]["ratio"] == found["ratios"]["ours"]
    assert [row["variant"] for row in shown["results"]] == ["fp32", "fp32", "fp32", "bf16"]
    assert Path(shown["figures"][0]).read_bytes()[:4] == b"\x89PNG"


def test_losses_that_are_not_the_published_ones_are_not_timed(monkeypatch: pytest.MonkeyPatch, tiny: None) -> None:
    right = FusedCell.forward
    monkeypatch.setattr(FusedCell, "forward", lambda *given: [1.001 * node for node in right(*given)])
    monkeypatch.setattr(train, "take_turns", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(WrongKernelError, match="^ours on DD-cifar10, batch 4 in float64: the loss of step 1 is "):
        train.measure(train.Settings(CPU, quick=True, rounds=1))


@pytest.mark.parametrize("arch", ["DD-cifar10", "DO-ResNet18"])
def test_both_loops_have_the_same_losses(arch: str) -> None:
    case = Case(arch, 4, channels=4, side=16, dtype=torch.float64)
    train.check_losses(case, CPU, {"published_channels_last": 1e-7, "ours": 1e-7})


def test_ours_is_the_fused_step_and_the_published_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    right = FusedCell.forward
    monkeypatch.setattr(FusedCell, "forward", lambda *given: calls.append(1) or right(*given))
    for name, expected in (("published", 0), ("published_channels_last", 0), ("ours", 8), ("ours_bf16", 8)):
        contestant = training(name, TINY, CPU)
        contestant.step(*contestant.batch(0, TINY, CPU))
        assert len(calls) == expected, name
        calls.clear()


def test_a_published_step_moves_the_weights_as_sgd_does() -> None:
    """Against the network's own forward pass and SGD written out, with clipping at work."""
    torch.manual_seed(0)
    network, twin = (create_model("DD-cifar10", init_channels=4, auxiliary=True).double() for _ in range(2))
    twin.load_state_dict(network.state_dict())
    images, labels = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)
    loop = PublishedTraining(network, 0.1, 0.0)
    loop.step(images, labels)
    logits, auxiliary = twin.train()(images)
    entropy = torch.nn.functional.cross_entropy
    (entropy(logits, labels) + 0.4 * entropy(auxiliary, labels)).backward()
    given = [parameter for parameter in twin.parameters() if parameter.grad is not None]
    norm = torch.sqrt(sum(parameter.grad.square().sum() for parameter in given))
    for (name, moved), own in zip(network.named_parameters(), twin.parameters(), strict=True):
        if own.grad is not None:
            expected = own - 0.1 * (min(1.0, 5 / norm) * own.grad + 3e-4 * own)
            torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-9, msg=name)
    assert len(loop.seen) == 1 and norm > 5


def test_published_accuracy_and_drop_path() -> None:
    logits = torch.eye(6)[[0, 1, 2]] + 0.1 * torch.arange(6)
    assert [x.item() for x in accuracies(logits, torch.tensor([0, 0, 3]))] == pytest.approx([100 / 3, 200 / 3])
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 1, 1, 1), 0.25)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3]) and abs(dropped.mean() - 1) < 0.05
