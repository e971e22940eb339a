"""The benchmark of search iterations: six contestants, their rows, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ddarts_benchmarks import agreement, iterations, memory, search
from ddarts_benchmarks.correct import WrongKernelError
from ddarts_benchmarks.iterations import COMPILED, EXACT, HALF, PUBLISHED, Case
from ddarts_benchmarks.published import ATEN_EVENTS, PublishedSearch, aten_events
from torch import Tensor

from ddarts.cli import main
from ddarts.space.topology import num_edges
from ddarts.supernet.fused import FusedCell
from tests.unit.search.published_loop import PublishedLoop

CPU = torch.device("cpu")
TINY = Case("ddarts", 2, 2, 2, 4)
NAMES = {*PUBLISHED, *EXACT, COMPILED, HALF}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench search --quick` measures this case, and nobody starts another process. BN over two values makes any
    rounding large, so half storage may be off by anything."""
    monkeypatch.setattr(search, "QUICK", (TINY,))
    monkeypatch.setattr(agreement, "_ALLOWED_HALF", dict.fromkeys(agreement._ALLOWED_HALF, math.inf))
    monkeypatch.setattr(memory, "peak", lambda *_: 1 << 20)


def test_rows_ratios_and_memory_are_written(capsys: Any, tmp_path: Path, tiny: None) -> None:
    words = ["bench", "search", "--quick", "--device", "cpu", "--output", str(tmp_path), "--rounds", "2"]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["ratios"]) == NAMES - {"ours"} and set(shown["seconds"]) == set(shown["peak_memory"]) == NAMES
    assert all(set(found) == {"min", "median", "max"} for found in shown["ratios"].values())
    assert shown["peak_memory_ratio"] == 1 and shown["aten_events"] == {"published": ATEN_EVENTS, "measured": None}
    assert [row["contestant"] for row in shown["results"]] == [*PUBLISHED, EXACT[0], COMPILED, EXACT[1], HALF]
    ours = shown["results"][-2]
    assert ours["baseline"] == "exact_reference" and ours["ratio"] == shown["ratios"]["exact_reference"]
    assert Path(shown["figures"][0]).read_bytes()[:4] == b"\x89PNG"
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "published_channels_last" in text and "1 MiB" in text


def test_an_iteration_that_is_not_the_reference_s_is_not_timed(monkeypatch: pytest.MonkeyPatch, tiny: None) -> None:
    right = FusedCell.execute

    def wrong(self: FusedCell, *arguments: Any) -> Any:
        made = right(self, *arguments)
        return made._replace(out=1.001 * made.out)

    monkeypatch.setattr(FusedCell, "execute", wrong)
    monkeypatch.setattr(search, "take_turns", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(WrongKernelError, match="^ours on an iteration of ddarts, batch 2 in float64: the losses"):
        search.measure(search.Settings(CPU, quick=True, rounds=1))


@pytest.mark.parametrize("space", ["ddarts", "dartopti"])
def test_ours_agrees_with_the_reference(space: str) -> None:
    agreement.check_agreement(Case(space, 4, 4, 3, 8), CPU)


@pytest.mark.parametrize(("part", "allowed"), [(1.0, True), (0.96, True), (1.04, True), (0.94, False), (1.06, False)])
def test_the_published_iteration_must_do_the_published_work(part: float, allowed: bool) -> None:
    events = round(part * ATEN_EVENTS)
    if allowed:
        search.check_work(events)
    else:
        with pytest.raises(WrongKernelError, match=f"^published: an iteration runs {events} operators, "):
            search.check_work(events)


def test_operators_are_counted_with_those_inside_of_them() -> None:
    x = torch.ones(2, 3)
    assert aten_events(lambda: x.neg()) == 1
    assert aten_events(lambda: torch.nn.functional.linear(x, x)) > 2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_published_iteration_has_the_published_gradients(layout: torch.memory_format) -> None:
    """Two iterations as tests/unit/search/published_loop.py does them, in float64. There the buffers of α keep what the
    weight step leaves, as here."""
    case = Case("ddarts", 4, 2, 3, 8, dtype=torch.float64)
    networks = [iterations.make_network("published", case, CPU, layout) for _ in range(2)]
    alphas = torch.randn(3, num_edges(4), 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    valid, train = iterations.batches(case, CPU, layout)
    ours, loop = PublishedSearch(networks[0], alphas), PublishedLoop(networks[1], alphas)
    for _ in range(2):
        ours.iterate(valid, train)
        loop.architecture_step(valid)
        loop.weight_step(train)
    _assert_close(ours.alphas, loop.alphas)
    _assert_close([a.grad for a in ours.alphas], [a.grad for a in loop.alphas])  # type: ignore[misc]
    _assert_close(list(networks[0].parameters()), list(networks[1].parameters()))


def _assert_close(found: list[Tensor], wanted: list[Tensor]) -> None:
    for x, y in zip(found, wanted, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-10)


def test_who_does_not_fit_into_memory_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    first, large, left_out = Case("ddarts", 16), Case("ddarts", 64), list[str]()
    monkeypatch.setattr(memory, "available", lambda _: 4 << 30)
    peaks = dict.fromkeys(NAMES, 1 << 30) | {"published": 4 << 29}
    assert (
        search._fitting(first, first, peaks, CPU, left_out) == [*PUBLISHED, EXACT[0], COMPILED, EXACT[1], HALF]
        and not left_out
    )
    assert search._fitting(large, first, peaks, CPU, left_out) == [EXACT[0], COMPILED, EXACT[1], HALF]
    assert left_out[0] == "published, ddarts, batch 64: takes 8.4 GiB, and 4.0 GiB are free"


@pytest.mark.slow
def test_peak_memory_is_that_of_the_work_alone() -> None:
    assert 200 << 20 <= memory.peak(CPU, _touch, 200 << 20) < 260 << 20


def _touch(nbytes: int) -> Any:
    return lambda: torch.ones(nbytes, dtype=torch.uint8)
