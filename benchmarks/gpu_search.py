"""The fused search network on a GPU: its kernels, its cells, and whole search iterations with CUDA graphs and without.

    python benchmarks/gpu_search.py [--device cuda] [--small] [--rounds 5] [--json FILE]

Prints a table of kernels (seconds, launches included; share of the machine's measured peak), seconds of an iteration of
the exact schedule on the reference network and on ours, and how long a search of 50 epochs on CIFAR-10's images, 25,000
in each half, would take: extrapolated from the iterations measured here, on random pixels, without loading, evaluation
and checkpoints. Nothing is timed before ours agrees with the reference.
"""

import argparse
import json
import logging
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from ddarts_benchmarks import supernet
from ddarts_benchmarks.agreement import check_agreement
from ddarts_benchmarks.iterations import EXACT, Case, running
from ddarts_benchmarks.registry import Settings
from ddarts_benchmarks.search import on
from ddarts_benchmarks.timing import Contestant, spread, take_turns

EPOCHS, IMAGES = 50, 25_000
CASES = tuple(Case("ddarts", batch, contestants=EXACT) for batch in (64, 96))
CELLS = (supernet.Cell(96, 16, 32), supernet.Cell(96, 32, 32, True), supernet.Cell(96, 64, 8))
SMALL, SMALL_CELLS = (Case("ddarts", 4, 4, 3, 8, EXACT),), (supernet.Cell(2, 4, 8),)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="small networks, to try this program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device(options.device)
    settings = Settings(device, options.small, options.rounds)
    cells = supernet.measured(SMALL_CELLS if options.small else CELLS, settings)
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "kernels": cells.summary["kernels"],
        "cells": [{key: row[key] for key in ("case", "variant", "contestant", "seconds")} for row in cells.rows],
        "iterations": [_iterations(case, device, options.rounds) for case in (SMALL if options.small else CASES)],
    }
    found["summary"] = dict(line for entry in found["iterations"] for line in summary(entry))
    print("\n".join(lines(found)))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def _iterations(case: Case, device: torch.device, rounds: int) -> dict[str, Any]:
    """Seconds of an iteration, by contestant."""
    check_agreement(case, device)
    case = on(device, case)
    made = {name: running(name, case, device) for name in case.contestants}
    for contestant in made.values():
        contestant.warm()
    turns = [Contestant(name, [contestant.iterate]) for name, contestant in made.items()]
    seconds = {name: spread(values) for name, values in take_turns(turns, rounds, device, warm=True).items()}
    return {"case": str(case), "batch": case.batch, "seconds": seconds, "search": extrapolated(case, seconds, rounds)}


def extrapolated(case: Case, seconds: dict[str, dict[str, float]], rounds: int) -> dict[str, Any]:
    """How long a whole search would take if every iteration took as long as these."""
    iterations = EPOCHS * math.ceil(IMAGES / case.batch)
    return {
        "iterations": iterations,
        "extrapolated_from": f"{rounds} measured iterations on random pixels; loading and evaluation are not included",
        "extrapolated_seconds": {name: iterations * value["median"] for name, value in seconds.items()},
    }


def summary(entry: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """The numbers that matter most, by a name that says what they are."""
    hours = {name: round(value / 3600, 2) for name, value in entry["search"]["extrapolated_seconds"].items()}
    yield f"{entry['case']}, ms", {name: round(value["median"] * 1e3, 1) for name, value in entry["seconds"].items()}
    yield f"{entry['case']}, extrapolated hours", hours


def lines(found: dict[str, Any]) -> list[str]:
    """What is printed."""
    text = [f"device: {found['device']}", "", "kernels of a fused cell (all calls of a phase)"]
    for line in found["kernels"]:
        share = f"{line['share_of_peak']:6.1%} of peak, {line['bound_by']}" if "share_of_peak" in line else ""
        median = statistics.median(line["seconds"].values()) * 1e3
        text.append(f"  {line['cell']:<28} {line['phase']:<28} {line['kernel']:<36} {median:9.3f} ms  {share}")
    for entry in found["iterations"]:
        search = entry["search"]
        text += ["", f"{entry['case']}: one iteration; {EPOCHS} epochs are {search['iterations']} of them"]
        for name, value in entry["seconds"].items():
            hours = search["extrapolated_seconds"][name] / 3600
            text.append(f"  {name:<24} {value['median'] * 1e3:9.1f} ms   a search: {hours:.2f} h, extrapolated")
        text.append(f"  (extrapolated from {search['extrapolated_from']})")
    return text


if __name__ == "__main__":
    main()
