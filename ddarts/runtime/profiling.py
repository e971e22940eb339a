"""What `--profile` records of a run: a trace of a few steps, the operations that take longest, memory on a GPU.

The trace opens in https://ui.perfetto.dev or chrome://tracing, the memory snapshot in https://pytorch.org/memory_viz.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from ddarts.runtime.errors import DdartsError

TRACE, SNAPSHOT = "trace.json.gz", "memory.pickle"
SKIPPED, WARM_UP, TRACED = 2, 1, 3  # steps: those that allocate and compile, the profiler's own first one, and the rest
_WHOLE = "ProfilerStep*"  # what the profiler calls a step
_SHOWN = 12  # operations in the log
_NAME = 44  # characters of an operation's name
_EVENTS = 200_000  # allocations that a snapshot remembers

_log = logging.getLogger(__name__)
_spans = False


@contextmanager
def profiling(enabled: bool, run_dir: Path, device: torch.device) -> Iterator[Callable[[], object]]:
    """Profile the steps of this block where `enabled`; the function that it gives is to be called after each step.

    Writes profile/trace.json.gz in the run's folder, and on a GPU profile/memory.pickle. DdartsError where it cannot.
    """
    if not enabled:
        yield lambda: None
        return
    folder = run_dir / "profile"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it takes a machine without a GPU for an error
    done = False

    def write(profile: torch.profiler.profile) -> None:
        nonlocal done
        done = profile.step_num > SKIPPED + WARM_UP
        if done:
            _write(profile, folder, device)

    kinds = torch.profiler.ProfilerActivity
    profile = torch.profiler.profile(
        activities=[kinds.CPU, *([kinds.CUDA] if device.type == "cuda" else [])],
        schedule=torch.profiler.schedule(wait=SKIPPED, warmup=WARM_UP, active=TRACED, repeat=1),
        on_trace_ready=write,
        record_shapes=True,
        profile_memory=True,
    )
    with _named_spans(), _memory_history(device), profile:
        yield profile.step
    if not done:
        _log.warning("--profile: the run ended before step %d, so nothing was traced", SKIPPED + WARM_UP + 1)


def span(name: str) -> AbstractContextManager[object]:
    """A named part of a step: in the trace, and on a GPU an NVTX range. Nothing while nobody profiles."""
    if not _spans:
        return nullcontext()
    stack = ExitStack()
    stack.enter_context(torch.profiler.record_function(name))
    if torch.cuda.is_available():
        stack.enter_context(torch.cuda.nvtx.range(name))
    return stack


@contextmanager
def _named_spans() -> Iterator[None]:
    global _spans
    _spans = True
    try:
        yield
    finally:
        _spans = False


@contextmanager
def _memory_history(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.memory._record_memory_history(max_entries=_EVENTS)
    try:
        yield
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)


def _write(profile: torch.profiler.profile, folder: Path, device: torch.device) -> None:
    try:
        folder.mkdir(exist_ok=True)
        profile.export_chrome_trace(str(folder / TRACE))
        if device.type == "cuda":
            torch.cuda.memory._dump_snapshot(str(folder / SNAPSHOT))
    except OSError as error:
        raise DdartsError(f"--profile: {folder}: cannot be written ({error.strerror})") from None
    for line in longest(profile.key_averages(), device):
        _log.info("%s", line)
    if device.type == "cuda":
        _log.info("trace and memory snapshot: %s, %s", folder / TRACE, folder / SNAPSHOT)
    else:
        _log.info("trace, with every allocation (a memory snapshot exists on a GPU only): %s", folder / TRACE)


def longest(averages: Any, device: torch.device) -> list[str]:
    """The operations that take longest by themselves, of what a profile counted: a table of lines."""
    attribute = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    rows = sorted(
        ((getattr(row, attribute), row.count, row.key) for row in averages if row.key != _WHOLE), reverse=True
    )
    total = sum(microseconds for microseconds, _, _ in rows) or 1.0
    lines = [f"{'operation':<{_NAME}} {'calls':>8} {'ms':>10} {'share':>7}"]
    for microseconds, calls, name in rows[:_SHOWN]:
        shown = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
        lines.append(f"{shown:<{_NAME}} {calls:>8} {microseconds / 1e3:>10.2f} {microseconds / total:>6.1%}")
    return lines
