"""`ddarts bench`: what it refuses, what it writes, and when it fails."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ddarts.cli import main
from tests.command_line import ENVIRONMENT, ROOT

KEYS = {"schema", "subject", "quick", "rounds", "machine", "left_out", "results"}
ROW = {"id", "op", "case", "variant", "contestant", "seconds", "bytes", "share_of_copy", "baseline", "ratio"}
MACHINE = {"device", "processor", "cores", "threads", "python", "torch", "capability", "copy_bytes_per_second"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("bench", "SUBJECT is missing: say what to measure: kernels, supernet, search, train, data or ops"),
        ("bench kernles", "SUBJECT kernles: unknown; did you mean kernels?"),
        ("bench qqq", "SUBJECT qqq: unknown; choose kernels, supernet, search, train, data, ops"),
        ("bench kernels --device gpu", "--device gpu: choose auto, cpu, cuda or cuda:N"),
        ("bench kernels --rounds 0", "--rounds 0: must be a whole number, at least 1"),
        ("bench kernels --threads -1", "--threads -1: must be a whole number, at least 1"),
        ("bench kernels --compare nowhere.json", "--compare nowhere.json: no such file"),
        ("bench kernels --compare .", "--compare .: cannot be read"),
        ("bench kernels --output /dev/null/x", "--output /dev/null/x: cannot be made"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"ddarts: error: {says}") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_backend_in_the_environment_is_refused(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDARTS_BACKEND", "foo")
    assert main("bench kernels --quick".split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == (
        "ddarts: error: DDARTS_BACKEND foo: unknown: allowed are auto, reference, cpp, cuda, triton\n"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a JSON file"),
        (b'{"schema": 1, "subj', "is not a JSON file"),
        (b"[" * 100_000, "is not a JSON file"),
        (b"\xff\xfe", "is not a JSON file"),
        (b'{"genotype": []}', "holds no results of this version"),
        (b'{"schema": 2, "subject": "kernels"}', "holds no results of this version"),
        (b'{"schema": 1, "subject": "search", "results": []}', "holds results of ddarts bench search, not kernels"),
        (b'{"schema": 1, "subject": "kernels"}', "is damaged"),
        (b'{"schema": 1, "subject": "kernels", "machine": {"device": "cpu"}, "results": [{"id": 3}]}', "is damaged"),
        (b'{"schema": 1, "subject": "kernels", "machine": {"device": "cpu"}, "results": 7}', "is damaged"),
        (b'{"schema": 1, "subject": "kernels", "machine": {"device": "cuda"}, "results": []}', "was measured on cuda"),
    ],
)
def test_a_file_that_cannot_be_compared_with_is_refused_before_any_work(
    capsys: Any, tmp_path: Path, content: bytes, says: str
) -> None:
    earlier, out = tmp_path / "earlier.json", tmp_path / "out"
    earlier.write_bytes(content)
    words = ["bench", "kernels", "--device", "cpu", "--compare", str(earlier), "--output", str(out)]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"ddarts: error: --compare {earlier}: ") and says in err and err.count("\n") == 1
    assert not out.exists()


def test_results_are_printed_written_and_drawn(capsys: Any, tmp_path: Path, tiny: Any) -> None:
    words = ["bench", "kernels", "--quick", "--device", "cpu", "--output", str(tmp_path), "--rounds", "2"]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == KEYS | {"path", "figures"} and set(shown["machine"]) >= MACHINE
    written = json.loads((tmp_path / "kernels-quick.json").read_text())
    assert written == {key: shown[key] for key in KEYS}
    assert all(set(row) - {"cost_of_remaining"} == ROW for row in shown["results"])
    assert len({row["id"] for row in shown["results"]}) == len(shown["results"]) > 20
    assert {(row["op"], row["contestant"]) for row in shown["results"]} == {
        ("mixed_sum", "eager"),
        ("mixed_sum", "reference"),
        ("threshold", "numpy"),
        ("threshold", "reference"),
    }
    assert all((row["ratio"] is None) == (row["contestant"] == row["baseline"]) for row in shown["results"])
    assert all(Path(path).read_bytes()[:4] == b"\x89PNG" for path in shown["figures"])
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "reference" in text and "threshold_sparse" in text and str(tmp_path / "kernels-quick.json") in text


def test_a_ratio_that_fell_is_exit_code_1_and_names_the_row(capsys: Any, tmp_path: Path, tiny: Any) -> None:
    words = ["bench", "kernels", "--quick", "--device", "cpu", "--rounds", "1", "--output", str(tmp_path)]
    assert main(words) == 0
    path = tmp_path / "kernels-quick.json"
    earlier = json.loads(path.read_text())
    rated = [row for row in earlier["results"] if row["ratio"]]
    for row in rated:
        row["ratio"]["median"] *= 1e-3
    rated[5]["ratio"]["median"] *= 1e9
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    capsys.readouterr()
    path.unlink()
    assert main([*words, "--compare", str(tmp_path / "earlier.json")]) == 1
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert out == "" and last.startswith(
        f"ddarts: error: slower than in {tmp_path / 'earlier.json'}: {rated[5]['id']}: "
    )
    assert str(path) in last and path.exists()


@pytest.mark.slow
def test_the_quick_benchmark_runs_with_every_backend_there_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ddarts", "bench", "kernels", "--quick", "--json", "--output", str(tmp_path)]
    path = f"{ENVIRONMENT['PYTHONPATH']}:{ROOT / 'benchmarks'}"
    environment = {**ENVIRONMENT, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(tmp_path / "kernels-quick.json")
