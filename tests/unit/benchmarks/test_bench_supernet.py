"""The benchmark of single cells: its rows, what is counted, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ddarts_benchmarks import recorder, supernet
from ddarts_benchmarks.correct import WrongKernelError
from ddarts_benchmarks.supernet import ALL, ALPHA, FORWARD, PHASES, Cell, Peak

import ddarts.ops
from ddarts.cli import main
from ddarts.ops import dispatch
from ddarts.supernet.fused import FusedCell

CPU = torch.device("cpu")
TINY = Cell(2, 2, 4)


def test_phases_and_kernels_are_written(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet, "QUICK", (TINY, Cell(2, 4, 4, True)))
    words = ["bench", "supernet", "--quick", "--device", "cpu", "--output", str(tmp_path), "--rounds", "1"]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in shown["results"]] == [
        phase for _ in range(2) for phase in PHASES for _ in range(2)
    ]
    assert {row["contestant"] for row in shown["results"]} == {"reference", "fused"}
    assert shown["matmul_flops_per_second"] > 0
    counted = [line for line in shown["kernels"] if line["kernel"] != supernet.REST]
    assert all(line["share_of_peak"] > 0 and line["floor_seconds"] > 0 and line["calls"] > 0 for line in counted)
    assert len(shown["kernels"]) - len(counted) == 2 * len(PHASES)
    assert Path(shown["figures"][0]).read_bytes()[:4] == b"\x89PNG"
    assert main(words) == 0
    assert "stage_backward, second, without weights" in capsys.readouterr().out


def test_a_wrong_cell_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = FusedCell.execute

    def wrong(self: FusedCell, *arguments: Any) -> Any:
        made = right(self, *arguments)
        return made._replace(out=1.001 * made.out)

    monkeypatch.setattr(supernet, "QUICK", (TINY,))
    monkeypatch.setattr(FusedCell, "execute", wrong)
    with pytest.raises(WrongKernelError, match="^fused, C 2.*, forward, no graph: the output is wrong by 1.0e-03"):
        supernet.measure(supernet.Settings(CPU, quick=True, rounds=1))


def test_every_kernel_of_a_pass_is_recorded_and_the_dispatcher_left_as_it_was() -> None:
    steps, pick = supernet.steps("fused", TINY, CPU), dispatch.pick
    names = {}
    for phase in PHASES:
        with recorder.recorded(CPU) as calls:
            steps[phase]()
        names[phase] = {call.kernel for call in calls}
    assert dispatch.pick is pick
    assert names[FORWARD] == {"pools", "stage, first", "stage, second", "project", "node_sum"}
    both = names[FORWARD] | {"channel_sums", "pools_backward", "project_backward"}
    for phase, word in ((ALL, "with"), (ALPHA, "without")):
        assert names[phase] == both | {f"stage_backward, {which}, {word} weights" for which in ("first", "second")}


def test_bytes_and_operations_are_those_of_the_tensors() -> None:
    """One edge of two images of 4x4 pixels and 3 channels through a 3x3 stage."""
    x, depthwise, pointwise = torch.randn(1, 2, 4, 4, 3), [torch.randn(1, 3, 3, 3)], [torch.randn(1, 3, 3)]
    assert ddarts.ops.table()
    with ddarts.ops.use_backend("reference"), recorder.recorded(CPU) as calls:
        dispatch.pick("stage", "cpu")(x, depthwise, pointwise, [1], 1, None, None, 1e-5, 1)
    (call,) = calls
    values = 2 * 4 * 4 * 3
    assert call.nbytes == 4 * (values + 27 + 9 + values + 2 * 3)
    assert call.flops == 2 * values * (9 + 3)


def test_the_floor_is_the_larger_of_arithmetic_and_memory() -> None:
    peak = Peak(flops=100.0, nbytes=10.0)
    assert peak.floor(200, 10) == 2 and peak.floor(200, 50) == 5
