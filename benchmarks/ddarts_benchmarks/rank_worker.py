"""One rank of `ddarts bench search --ranks`. `python -m ddarts_benchmarks.rank_worker CASE-AND-ROUNDS FILE`"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ddarts.runtime.device import pick_device
from ddarts.runtime.ranks.discovery import discover
from ddarts.runtime.ranks.group import Group, open_group
from ddarts_benchmarks.iterations import Case, batches, exact_iteration

PHASES = ("architecture", "weights")
TIMEOUT = 300.0  # seconds until a rank gives up on another


class Traffic:
    """What a group sends: calls, bytes, and the seconds that this rank spends in them."""

    def __init__(self, group: Group) -> None:
        self.device = group.device
        self.reset()
        group._sum = self._counted(group._sum)  # type: ignore[assignment, method-assign]

    def reset(self) -> None:
        """Count from here on."""
        self.calls = self.nbytes = 0
        self.seconds = 0.0

    def _counted(self, call: Callable[[torch.Tensor], None]) -> Callable[[torch.Tensor], None]:
        def counted(flat: torch.Tensor) -> None:
            begin = now(self.device)
            call(flat)
            self.seconds += now(self.device) - begin
            self.calls += 1
            self.nbytes += flat.numel() * flat.element_size()

        return counted


def now(device: torch.device) -> float:
    """Seconds, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(group: Group, case: Case, rounds: int) -> dict[str, Any]:
    """Seconds of each phase of `rounds` iterations and of the communication within, and what is sent in each."""
    iteration = exact_iteration("ours", case, group.device, group)
    valid, train = batches(case, group.device, torch.channels_last)
    traffic = Traffic(group)
    found: dict[str, Any] = {phase: {"seconds": [], "communication": []} for phase in PHASES}
    for number in range(rounds + 1):
        steps = (lambda: iteration.architecture_step(valid, number)), (lambda: iteration.weight_step(train, number))  # noqa: B023
        for phase, step in zip(PHASES, steps, strict=True):
            group.wait()
            traffic.reset()
            begin = now(group.device)
            step()
            if number:  # the first one warms up
                found[phase]["seconds"].append(now(group.device) - begin)
                found[phase]["communication"].append(traffic.seconds)
                found[phase].update(bytes=traffic.nbytes, calls=traffic.calls)
    return found


def main(settings: str, path: str) -> None:
    """Measure as one of the ranks that the environment tells of; the first writes the file."""
    told = json.loads(settings)
    place = discover()
    device = pick_device(told["device"], place.local_rank if place.size > 1 else None)
    torch.set_num_threads(told["threads"])
    with open_group(place, device, TIMEOUT) as group:
        found = measure(group, Case(**told["case"]), told["rounds"])
        if group.is_first:
            Path(path).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
