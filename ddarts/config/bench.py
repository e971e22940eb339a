"""Options of `ddarts bench`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import exists
from typing import ClassVar

from ddarts.config import common
from ddarts.config.options import option

_OPS = ("epochs", "batch_size", "init_channels", "layers", "dataset", "data", "download", "image_size")


@dataclass(frozen=True)
class BenchConfig(common.DataOptions):
    """Measure speed, or the accuracy of operations. Contestants take turns; one that computes something wrong is not
    timed."""

    command: ClassVar[str] = "bench"

    subject: str | None = option(
        None,
        "what to measure: kernels, supernet, search, train, data or ops",
        required="say what to measure: kernels, supernet, search, train, data or ops",
        positional=True,
    )
    quick: bool = option(False, "a few small cases, in seconds")
    compare: str | None = option(
        None, "earlier results (JSON); the exit code is 1 where a ratio to the baseline fell by more than 10 %"
    )
    threads: int | None = option(None, "threads on the CPU (left out: as torch has it)", minimum=1, maximum=4096)
    rounds: int | None = option(
        None,
        "turns of every contestant; ops: seeds (left out: 7, search and ops 3, with --quick 3, ops 1)",
        minimum=1,
        maximum=100_000,
    )
    ranks: tuple[int, ...] | None = option(
        None, "search: an iteration on so many ranks of this machine, one number after another", minimum=1, maximum=64
    )
    output: str | None = option(None, "folder for the results (left out: benchmarks/results)")
    device: str = option("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")

    epochs: int = option(10, "ops: passes over the training images (with --quick 1)", minimum=1)
    batch_size: int = option(64, "ops: images of a step", minimum=2)
    init_channels: int = common.init_channels(8, ", for ops")
    layers: int = option(3, "ops: cells of the network", minimum=1, maximum=1000)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", self.device):
            yield f"--device {self.device}: choose auto, cpu, cuda or cuda:N"
        if self.compare and not exists(self.compare):
            yield f"--compare {self.compare}: no such file"
        if self.compare and self.subject == "ops":
            yield f"--compare {self.compare}: compares speeds, and ops measures accuracies"
        if self.ranks and self.subject != "search":
            yield f"--ranks {','.join(map(str, self.ranks))}: belongs to ddarts bench search"
        if self.subject == "ops":
            yield from self.data_conflicts()

    def remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about options that were given on purpose but change nothing."""
        if self.subject == "ops":
            yield from self.data_remarks(given)
        else:
            yield from (f"--{name} has no effect: it belongs to ddarts bench ops" for name in _OPS if name in given)
