"""--profile: what is traced, written and said, and that nothing happens without it."""

import gzip
import json
import logging
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from ddarts.runtime import profiling
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.profiling import SKIPPED, TRACED, WARM_UP, longest, span

CPU = torch.device("cpu")
ENOUGH = SKIPPED + WARM_UP + TRACED


def work(steps, folder, enabled=True):
    """Some steps of a product, each a span that is numbered."""
    with profiling.profiling(enabled, folder, CPU) as traced:
        for number in range(steps):
            with span(f"step {number}"):
                torch.ones(64, 64) @ torch.ones(64, 64)
            traced()


def test_a_few_steps_after_the_first_are_traced(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    work(ENOUGH + 2, tmp_path)
    trace = json.loads(gzip.decompress((tmp_path / "profile" / "trace.json.gz").read_bytes()))
    events = trace["traceEvents"]
    spans = {event["name"] for event in events if event.get("cat") == "user_annotation"}
    assert {name for name in spans if name.startswith("step ")} == {f"step {i}" for i in range(3, 6)}
    assert sum(event["name"] == "aten::mm" for event in events) == TRACED
    assert any(event["name"] == "[memory]" for event in events)
    assert caplog.messages[0].split() == ["operation", "calls", "ms", "share"]
    mm = next(line for line in caplog.messages if line.startswith("aten::mm"))
    assert mm.split()[1] == str(TRACED) and mm.endswith("%")
    assert caplog.messages[-1].startswith("trace, with every allocation (a memory snapshot exists on a GPU only): ")


def test_on_a_gpu_ranges_are_named_and_memory_is_kept_too(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    """With stand-ins for what only a GPU has."""
    ranges, recorded, asked = [], [], []
    memory, profile, kinds = torch.cuda.memory, torch.profiler.profile, torch.profiler.ProfilerActivity

    def on_the_cpu(activities, **options):
        asked.extend(activities)
        return profile(activities=[kinds.CPU], **options)

    monkeypatch.setattr(torch.cuda.nvtx, "range", lambda name: nullcontext(ranges.append(name)))
    monkeypatch.setattr(memory, "_record_memory_history", lambda **options: recorded.append(options))
    monkeypatch.setattr(memory, "_dump_snapshot", lambda path: Path(path).write_text("allocations"))
    monkeypatch.setattr(torch.profiler, "profile", on_the_cpu)
    with profiling.profiling(True, tmp_path, torch.device("cuda")) as traced:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        for number in range(ENOUGH):
            with span(f"step {number}"):
                torch.ones(2)
            traced()
    assert asked == [kinds.CPU, kinds.CUDA]
    assert ranges == [f"step {number}" for number in range(ENOUGH)]
    assert [options.get("enabled", "all") for options in recorded] == ["all", None]
    assert (tmp_path / "profile" / "memory.pickle").read_text() == "allocations"
    assert "trace and memory snapshot: " in caplog.text and (tmp_path / "profile" / "trace.json.gz").is_file()


@pytest.mark.parametrize(("steps", "wanted"), [(SKIPPED + WARM_UP, False), (SKIPPED + WARM_UP + 1, True)])
def test_a_run_that_ends_early_traces_what_there_is_or_says_so(steps, wanted, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    work(steps, tmp_path)
    assert (tmp_path / "profile").exists() is wanted
    assert ("the run ended before step 4, so nothing was traced" in caplog.text) is not wanted


def test_nothing_is_recorded_without_it(tmp_path, caplog):
    work(ENOUGH, tmp_path, enabled=False)
    assert not list(tmp_path.iterdir()) and not caplog.messages
    assert type(span("x")) is nullcontext
    work(1, tmp_path)
    assert type(span("x")) is nullcontext  # spans end with the block


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "profile").write_text("a file")
    with pytest.raises(DdartsError, match=r"^--profile: .*profile: cannot be written \(File exists\)$"):
        work(ENOUGH, tmp_path)


def test_the_table_is_sorted_short_and_in_shares():
    class Row:
        def __init__(self, key, microseconds, count):
            self.key, self.self_cpu_time_total, self.count = key, microseconds, count

    rows = [Row(f"op {i}", 100.0 * i, i) for i in range(20)] + [Row("long " * 20, 19_000.0, 1)]
    lines = longest(rows, CPU)
    assert len(lines) == 13 and lines[1].split()[-3:] == ["1", "19.00", "50.0%"] and "…" in lines[1]
    assert [line.split()[1] for line in lines[2:5]] == ["19", "18", "17"]
