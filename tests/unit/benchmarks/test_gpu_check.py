"""`make gpu-check` says what is missing, ends what takes too long, and counts a broken promise as a failure."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import gpu_check
import gpu_search
import pytest
from gpu_check import Done, Step

PYTHON = [sys.executable, "-c"]


def attempt(code: str, **details: Any) -> Done:
    return gpu_check.attempt(Step("a step", [*PYTHON, code], details.pop("limit", 30), **details), [], time.monotonic())


def test_a_step_that_works() -> None:
    done = attempt("print('{\"a\": 1}')", details=gpu_check.printed_object)
    assert (done.state, done.details, done.output) == ("ok", {"exit_code": 0, "a": 1}, [])


def test_a_step_that_fails_shows_its_last_lines() -> None:
    done = attempt("import sys; print(*range(99), sep='\\n'); sys.exit(3)")
    assert done.state == "failed" and done.details == {"exit_code": 3}
    assert done.output == [str(i) for i in range(99 - gpu_check.LINES, 99)]


def test_a_step_that_leaves_no_mark_has_failed(tmp_path: Path) -> None:
    done = attempt("pass", details=lambda lines: gpu_check.finished(tmp_path / "DONE"))
    assert done.state == "failed" and done.details["problem"] == "DONE is missing"


def test_a_step_that_takes_too_long_is_ended_with_its_children() -> None:
    code = "import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', 'input()'])"
    done = attempt(f"import time; time.sleep(0); {code}; time.sleep(60)", limit=1)
    assert done.state == "failed" and done.output[-1] == "killed after 1 s"


def test_what_is_missing_is_left_out() -> None:
    assert attempt("1/0", needs=("sys", "no_such_module")).details == {"reason": "not installed: no_such_module"}
    assert attempt("1/0", after=("search",)).details == {"reason": "search did not succeed"}
    done = gpu_check.attempt(Step("late", [*PYTHON, "1/0"], 30), [], time.monotonic() - gpu_check.TIME)
    assert done.state == "left out" and "seconds are used up" in done.details["reason"]


def test_a_search_s_time_is_called_extrapolated(tmp_path: Path) -> None:
    gpu_search.main(["--device", "cpu", "--small", "--rounds", "1", "--json", str(tmp_path / "found.json")])
    seconds = json.loads((tmp_path / "found.json").read_text())["iterations"][0]["seconds"]["ours"]["median"]
    found = gpu_check.timings(tmp_path / "found.json")
    hours = found["ddarts, batch 4, extrapolated hours"]
    assert hours.keys() == {"exact_reference", "ours"}
    assert hours["ours"] == pytest.approx(50 * 6250 * seconds / 3600, abs=0.01)
    with pytest.raises(ValueError, match="gone.json is missing"):
        gpu_check.timings(tmp_path / "gone.json")


def test_tests_that_need_hypothesis_are_named_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check.importlib.util, "find_spec", lambda name: None)
    (line,), options = gpu_check.test_files()
    assert "hypothesis is not installed" in line and "test_mixed_sum_contract.py" in line
    assert "--ignore=tests/ops/test_mixed_sum_contract.py" in options and "-n" not in options


def test_a_gpu_without_its_kernels_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"op": "mixed_sum", "backend": "reference", "available": True, "note": "plain torch"},
        {"op": "mixed_sum", "backend": "cuda", "available": False, "note": "not built"},
    ]
    monkeypatch.setattr(gpu_check.importlib.util, "find_spec", lambda name: None)
    lines = ["a message", json.dumps({"operators": rows})]
    assert gpu_check.backends(lines, "cpu") == {"available": ["reference"]}
    with pytest.raises(ValueError, match="cuda: not built"):
        gpu_check.backends(lines, "cuda")


def test_the_commands_it_runs_exist(tmp_path: Path) -> None:
    from ddarts.commands.parser import parse
    from ddarts.commands.registry import COMMANDS

    for step in gpu_check.steps({"type": "cpu"}, [], tmp_path):
        if step.command[1:3] == ["-m", "ddarts"]:
            name, *words = step.command[3:]
            assert parse(COMMANDS[name].options, words)
