"""Options of `ddarts bench`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import exists
from typing import ClassVar

from ddarts.config.options import option


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed: contestants take turns, and none is timed that computes something wrong."""

    command: ClassVar[str] = "bench"

    subject: str | None = option(
        None,
        "what to measure: kernels, supernet or search (train, data and ops come later)",
        required="say what to measure: kernels, supernet or search",
        positional=True,
    )
    quick: bool = option(False, "a few small cases, in seconds")
    compare: str | None = option(
        None, "earlier results (JSON); the exit code is 1 where a ratio to the baseline fell by more than 10 %"
    )
    threads: int | None = option(None, "threads on the CPU (left out: as torch has it)", minimum=1, maximum=4096)
    rounds: int | None = option(
        None, "turns of every contestant (left out: 7, search 3, with --quick 3)", minimum=1, maximum=100_000
    )
    output: str | None = option(None, "folder for the results (left out: benchmarks/results)")
    device: str = option("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", self.device):
            yield f"--device {self.device}: choose auto, cpu, cuda or cuda:N"
        if self.compare and not exists(self.compare):
            yield f"--compare {self.compare}: no such file"
