"""`ddarts bench search`: whole iterations of a search, the published algorithm's and ours, in turns.

An iteration is an architecture step with the marginal contributions of all cells, and a weight step.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch

from ddarts_benchmarks import memory, plots
from ddarts_benchmarks.agreement import check_agreement
from ddarts_benchmarks.correct import WrongKernelError, failures
from ddarts_benchmarks.iterations import EXACT, PUBLISHED, UNRECORDED, Case, Running, running, work
from ddarts_benchmarks.published import ATEN_EVENTS, aten_events
from ddarts_benchmarks.registry import Outcome, Settings
from ddarts_benchmarks.rows import Row, row
from ddarts_benchmarks.timing import Contestant, ratios, spread, take_turns

logger = logging.getLogger("ddarts.benchmarks")

CASES = (Case("ddarts", 16), Case("ddarts", 64), Case("dartopti", 16, contestants=EXACT))
QUICK = (Case("ddarts", 8, 4, 3, 16), Case("dartopti", 8, 4, 3, 16, EXACT))
BASELINE, OURS = EXACT
NEAR = 0.05  # how far the work of the published iteration may be from the published program's, as a part
_SPARE = 1.05  # what must be free, as a multiple of what a contestant takes

Peaks = Mapping[str, int]


def measure(settings: Settings) -> Outcome:
    """All cases, or with settings.quick small ones. WrongKernelError where ours computes something else than the
    reference, or the published iteration does not do the published work."""
    device, left_out = settings.device, list[str]()
    cases = [on(device, case) for case in (QUICK if settings.quick else CASES)]
    for case in cases:
        check_agreement(case, device)
    logger.info("ours agrees with the reference")
    first = cases[0]
    peaks = _peaks(first, device)
    rows: list[Row] = []
    summaries: dict[str, dict[str, Any]] = {}
    events = None
    for case in cases:
        names = _fitting(case, first, peaks, device, left_out)
        made = {name: running(name, case, device) for name in names}
        if case == first and not settings.quick and device.type == "cpu":
            events = _count(made[PUBLISHED[0]])
        rounds = settings.rounds if case.batch <= first.batch else max(1, settings.rounds // 2)
        seconds = _turns(made, rounds, device)
        rows += [_row(case, name, seconds) for name in names]
        summaries[str(case)] = _summary(seconds)
        logger.info("%s: measured", case)
    if events is None:
        left_out.append("the count of the published iteration's operators: in a full run on a CPU only")
    summary = {
        **summaries[str(first)],
        "peak_memory": peaks,
        "peak_memory_ratio": peaks[PUBLISHED[0]] / peaks[OURS],
        "aten_events": {"published": ATEN_EVENTS, "measured": events},
        "cases": summaries,
    }
    return Outcome(rows, left_out, summary, partial(plots.draw_factors, summaries))


def on(device: torch.device, case: Case) -> Case:
    """The case with the contestants that there are only on a GPU."""
    return replace(case, contestants=(*case.contestants, UNRECORDED)) if device.type == "cuda" else case


def _peaks(case: Case, device: torch.device) -> dict[str, int]:
    """Bytes that one iteration of each contestant takes at most."""
    found = {name: memory.peak(device, work, name, case, device) for name in case.contestants}
    logger.info("peak memory: %s", ", ".join(f"{name} {nbytes >> 20} MiB" for name, nbytes in found.items()))
    return found


def _fitting(case: Case, first: Case, peaks: Peaks, device: torch.device, left_out: list[str]) -> list[str]:
    """The contestants for which there is memory: what an iteration takes is in proportion to the batch."""
    free, fitting = memory.available(device), []
    for name in case.contestants:
        needed = round(_SPARE * peaks[name] * case.batch / first.batch)
        if name not in PUBLISHED or free is None or needed <= free:
            fitting.append(name)
        else:
            left_out.append(f"{name}, {case}: takes {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free")
    return fitting


def _count(published: Running) -> int:
    """The operators that a published iteration runs; WrongKernelError where they are not the published program's."""
    events = aten_events(published.iterate)
    logger.info("a published iteration runs %d operators (aten), the published program %d", events, ATEN_EVENTS)
    check_work(events)
    return events


def check_work(events: int) -> None:
    """WrongKernelError unless `events` operators are about what the published program runs in an iteration."""
    if abs(events - ATEN_EVENTS) > NEAR * ATEN_EVENTS:
        raise WrongKernelError(
            f"published: an iteration runs {events} operators, {events / ATEN_EVENTS - 1:+.1%} against the published "
            f"program's {ATEN_EVENTS} (allowed {NEAR:.0%})"
        )


def _turns(made: Mapping[str, Running], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of an iteration of each contestant."""
    for name, contestant in made.items():
        with failures(name):
            contestant.warm()
    contestants = [Contestant(name, [contestant.iterate]) for name, contestant in made.items()]
    return take_turns(contestants, rounds, device, warm=True)


def _row(case: Case, name: str, seconds: Mapping[str, Sequence[float]]) -> Row:
    dtype = str(case.dtype).removeprefix("torch.")
    described = {"name": str(case), **asdict(case), "dtype": dtype}
    return row("iteration", described, dtype, name, seconds[name], (BASELINE, seconds[BASELINE]))


def _summary(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Seconds, and how many times faster ours is than each of the others."""
    return {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "ratios": {name: ratios(values, seconds[OURS]) for name, values in seconds.items() if name != OURS},
    }
