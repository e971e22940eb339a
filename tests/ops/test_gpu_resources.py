"""The table of registers, shared memory and spills: reading ptxas, judging, and the whole run without a GPU."""

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks import gpu_resources
from benchmarks.gpu_resources import Resources

ROOT = Path(__file__).resolve().parents[2]
REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3addPf' for 'sm_80'
ptxas info    : Function properties for _Z3addPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]
ptxas info    : Compile time = 8.000 ms
ptxas info    : Compiling entry function 'mul' for 'sm_90a'
ptxas info    : Function properties for mul
    64 bytes stack frame, 60 bytes spill stores, 68 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 64 bytes cumulative stack size
"""
TIDY = Resources("triton", "add", "float32", 80, 40, 1024, 0)
SPILLING = Resources("cuda", "mul", "mul.cu", 90, 255, 0, 128)


def test_reads_what_ptxas_prints() -> None:
    assert gpu_resources.read_ptxas(REPORT) == [
        Resources("cuda", "_Z3addPf", "", 80, 40, 1024, 0),
        Resources("cuda", "mul", "", 90, 255, 0, 128),
    ]


def test_a_report_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(ValueError, match="not understood"):
        gpu_resources.read_ptxas("Compiling entry function 'mul' for 'sm_90'\nUsed many registers")


def test_table_has_a_line_for_each_kernel() -> None:
    lines = gpu_resources.table([TIDY, TIDY._replace(arch=90, registers=48), SPILLING])
    assert len(lines) == 3
    assert lines[1].split() == ["triton", "add", "float32", "40", "1024", "0", "48", "1024", "0", "-"]
    assert lines[2].split() == ["cuda", "mul", "mul.cu", "-", "255", "0", "128", "-"]


@pytest.mark.parametrize("kernels", [[TIDY], [TIDY, SPILLING]], ids=["tidy", "spilling"])
def test_spills_fail(
    kernels: list[Resources], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def nothing() -> list[Resources]:
        raise gpu_resources.NotHereError("CUDA kernels: nvcc is not found")

    monkeypatch.setattr(gpu_resources, "triton_kernels", lambda: kernels)
    monkeypatch.setattr(gpu_resources, "cuda_kernels", nothing)
    code = gpu_resources.main(["--json", str(tmp_path / "table.json")])
    printed = capsys.readouterr()
    assert "left out: CUDA kernels: nvcc is not found" in printed.out
    assert json.loads((tmp_path / "table.json").read_text())["kernels"] == [k._asdict() for k in kernels]
    if SPILLING in kernels:
        assert code == 1 and "cuda kernel mul (mul.cu, sm_90) spills 128 bytes" in printed.err
    else:
        assert code == 0 and not printed.err


@pytest.mark.parametrize(
    ("words", "kernels", "says"),
    [
        ([], [TIDY], ""),
        (["--require", "triton"], [TIDY], ""),
        (["--require", "triton,cuda"], [TIDY], "--require cuda: CUDA kernels: nvcc is not found\n"),
        ([], [], "no kernel was compiled\n"),
    ],
)
def test_what_is_required_must_compile_and_something_always(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    kernels: list[Resources],
    says: str,
) -> None:
    def nothing() -> list[Resources]:
        raise gpu_resources.NotHereError("CUDA kernels: nvcc is not found")

    monkeypatch.setattr(gpu_resources, "triton_kernels", lambda: kernels)
    monkeypatch.setattr(gpu_resources, "cuda_kernels", nothing)
    assert gpu_resources.main(words) == bool(says)
    assert capsys.readouterr().err == says


def test_an_unknown_requirement_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_resources.main(["--require", "tritn"])
    assert "tritn: allowed are triton, cuda and triton,cuda" in capsys.readouterr().err


def test_says_that_triton_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # given back afterwards: the function takes it away
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(gpu_resources.NotHereError, match="Triton is not installed"):
        next(iter(gpu_resources.triton_kernels()))
