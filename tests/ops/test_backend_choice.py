"""Which backend runs: what a command is told, else the environment, else the fastest."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ddarts
import ddarts.ops
from ddarts.ops import dispatch
from ddarts.runtime.errors import UsageError
from ddarts.search.iteration import Iteration

ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, Any] = {
    "dataset": "digits",
    "image_size": 8,
    "init_channels": 2,
    "layers": 3,
    "steps": 1,
    "multiplier": 1,
    "max_steps": 1,
    "device": "cpu",
}


def test_auto_leaves_the_environment_its_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDARTS_BACKEND", "reference")
    ddarts.ops.use_backend("auto")
    assert dispatch.backend_choice() == "reference"
    with ddarts.ops.use_backend("cpp"):
        assert dispatch.backend_choice() == "cpp"
        with ddarts.ops.use_backend("auto"):
            assert dispatch.backend_choice() == "reference"
        assert dispatch.backend_choice() == "cpp"
    assert dispatch.backend_choice() == "reference"


def test_auto_leaves_out_what_does_not_take_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up fastest backend with a limit: auto goes on to the next one, an explicit choice does not."""
    ran = []
    small = dispatch.Implementation(lambda x: ran.append("cuda"), ("cpu",), lambda x: len(x) <= 2)
    known = {"cuda": small, "reference": dispatch.Implementation(lambda x: ran.append("reference"))}
    monkeypatch.setitem(dispatch._implementations, "made_up", known)
    monkeypatch.setattr(dispatch, "problem", lambda backend: None)
    for x in ([1, 2], [1, 2, 3]):
        dispatch.pick("made_up", "cpu", x)(x)
    assert ran == ["cuda", "reference"]
    with ddarts.ops.use_backend("cuda"):
        assert dispatch.pick("made_up", "cpu", [1, 2, 3]) is small.function


def test_auto_passes_the_arguments_of_every_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of the CUDA kernels, with the CPU taken for a GPU."""
    ran = []
    for op, registered in dispatch._implementations.items():
        if "cuda" in registered:
            spy = dispatch.Implementation(lambda *_, op=op: ran.append(op), ("cpu",), registered["cuda"].takes)
            monkeypatch.setitem(registered, "cuda", spy)
    x, weights = torch.ones(2, requires_grad=True), torch.ones(129, requires_grad=True)
    problem = dispatch.problem
    monkeypatch.setattr(dispatch, "problem", lambda name: None if name == "cuda" else problem(name))
    ddarts.ops.mixed_sum([x] * 129, weights).sum().backward()
    assert torch.equal(weights.grad, torch.full((129,), 2.0))
    many = torch.ones(1025)
    assert float(ddarts.ops.mixed_sum([x.detach()], many, source=[0] * 1025)[0]) == 1025
    assert ddarts.ops.threshold(torch.ones(1, 129 * 66, 1), 129)[0].shape == (1, 129 * 66, 1)
    assert not ran
    for op, arguments in {
        "mixed_sum": ([x] * 128, torch.ones(1024)),
        "mixed_sum_backward": (x, [x] * 128, torch.ones(1024)),
        "threshold": (torch.ones(1, 128 * 131 // 2, 1), 128),
    }.items():
        dispatch.pick(op, "cpu", *arguments)(*arguments)
    assert ran == ["mixed_sum", "mixed_sum_backward", "threshold"]


@pytest.mark.parametrize(("option", "expected"), [("auto", "reference"), ("cpp", "cpp")])
def test_a_search_follows_the_environment_unless_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str, expected: str
) -> None:
    seen = []
    step = Iteration.weight_step

    def spy(self: Iteration, *arguments: Any) -> Any:
        seen.append(dispatch.backend_choice())
        return step(self, *arguments)

    monkeypatch.setenv("DDARTS_BACKEND", "reference")
    monkeypatch.setattr(Iteration, "weight_step", spy)
    ddarts.search(ddarts.SearchConfig(**TINY, backend=option, out=str(tmp_path)))
    assert seen == [expected]


def test_auto_refuses_what_the_environment_asks_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    ddarts.ops.use_backend("reference")
    monkeypatch.setenv("DDARTS_BACKEND", "fast")
    with pytest.raises(UsageError, match="DDARTS_BACKEND fast: unknown: allowed are auto, reference, cpp"):
        ddarts.ops.use_backend("auto")
    assert dispatch.backend_choice() == "reference"


@pytest.mark.parametrize("command", ["search", "train"])
def test_a_wrong_backend_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str) -> None:
    monkeypatch.setenv("DDARTS_BACKEND", "fast")
    with pytest.raises(UsageError, match="DDARTS_BACKEND fast: unknown"):
        if command == "search":
            ddarts.search(ddarts.SearchConfig(**TINY, out=str(tmp_path)))
        else:
            ddarts.train(ddarts.TrainConfig(arch="DD-cifar10", dataset="digits", out=str(tmp_path)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("turn", [1, 2])
def test_a_choice_ends_with_its_test(turn: int) -> None:
    assert dispatch.backend_choice() == "auto"
    ddarts.ops.use_backend("reference")


def test_an_unknown_instruction_set_is_one_line_before_any_work(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}", "DDARTS_CPU_CAPABILITY": "foo"}
    words = ["search", "--dataset", "digits", "--epochs", "1", "--out", str(tmp_path / "logs")]
    child = subprocess.run(
        [sys.executable, "-m", "ddarts", *words], capture_output=True, text=True, env=environment, timeout=60
    )
    assert child.returncode == 2
    assert child.stderr == "ddarts: error: DDARTS_CPU_CAPABILITY=foo: allowed are default, avx2, avx512\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
