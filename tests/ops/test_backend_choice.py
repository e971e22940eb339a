"""Which backend runs: what a command is told, else the environment, else the fastest."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
