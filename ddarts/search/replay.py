"""Whole iterations as CUDA graphs: recorded once, then launched as one, instead of thousands of kernels one by one.

A graph repeats what was recorded, on the same memory. So all that changes between iterations lies in tensors that are
written in place: batches, the step's number, ablation draws, learning rates. What Python decides by (whether the step
ablates) has a graph of its own; a batch of another size, the last of an epoch, runs operation by operation.
"""

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch

from ddarts.config.search import SearchConfig
from ddarts.runtime.parts import Batch
from ddarts.search.inputs import HostInputs
from ddarts.search.iteration import Iteration
from ddarts.search.phases import Phase, Reports

_log = logging.getLogger(__name__)
WARM_UP = 3  # iterations before one is recorded: they compile kernels and make the optimizers' states
Work = Callable[[], Reports]


class Graphs(Protocol):
    """How work is recorded."""

    def warm_up(self, work: Work) -> Reports:
        """Does the work as it is, in the surroundings that recording needs."""
        ...

    def record(self, work: Work) -> Work:
        """Records the work without doing it; the result does it again each time, with the same result tensors."""
        ...


class CudaGraphs:
    """Recorded by torch."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, work: Work) -> Reports:
        """See Graphs. Autograd remembers the stream that it worked on first, so not on the default one."""
        outside = torch.cuda.current_stream()
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream):
            reports = work()
        outside.wait_stream(self._stream)
        return reports

    def record(self, work: Work) -> Work:
        """See Graphs."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # loaders' threads may go on meanwhile
            reports = work()

        def replay() -> Reports:
            graph.replay()
            return reports

        return replay


class Replayed:
    """A phase whose steps are recorded. The iteration takes from the host what `inputs` hold, once this is made."""

    def __init__(self, phase: Phase, iteration: Iteration, graphs: Graphs) -> None:
        self.phase, self.iteration, self.graphs = phase, iteration, graphs
        self.name, self.validates = phase.name, phase.validates
        self.inputs = HostInputs(iteration.alphas.logits)
        self._batches: list[Batch] = []  # where the graphs read
        self._done = 0
        self._replays: dict[Hashable, Work] = {}
        self._impossible = False

    def batches(self, batch: Batch) -> list[Batch]:
        """See Phase."""
        return self.phase.batches(batch)

    def run(self, batches: list[Batch], number: int) -> Reports:
        """See Phase."""
        self.inputs.set(self.iteration.seed, number)
        if not self._batches:
            self._batches = [(images.clone(), labels.clone()) for images, labels in batches]
        if self._impossible or any(
            x.shape != y.shape for pair in zip(batches, self._batches, strict=True) for x, y in zip(*pair, strict=True)
        ):
            return self._run(batches, number)
        for given, own in zip(batches, self._batches, strict=True):
            for x, y in zip(given, own, strict=True):
                y.copy_(x)
        self._done += 1
        if self._done <= WARM_UP:
            return self.graphs.warm_up(lambda: self._run(self._batches, number))
        return self._replay(number)()

    def _run(self, batches: list[Batch], number: int) -> Reports:
        with self.iteration.reading(self.inputs):
            return self.phase.run(batches, number)

    def _replay(self, number: int) -> Work:
        def work() -> Reports:
            return self._run(self._batches, number)

        key = self.iteration.ablates(number)
        if key not in self._replays:
            try:
                with _capturable(self.iteration.alpha_optimizer):
                    self._replays[key] = self.graphs.record(work)
            except RuntimeError as error:
                _log.warning("iterations run without CUDA graphs: %s", str(error).strip().split("\n")[0])
                self._impossible = True
                self.iteration.forget()
                return work
        return self._replays[key]


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Adam wants to be told that it is recorded."""
    for group in optimizer.param_groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in optimizer.param_groups:
            group["capturable"] = False


def launching(config: SearchConfig, iteration: Iteration) -> Callable[[Phase], Phase]:
    """How the steps of a phase are launched: recorded on a GPU, if no step has to ask the host."""
    if iteration.guard is None or config.cuda_graphs == "off":
        return lambda phase: phase
    return replaying(iteration, CudaGraphs(iteration.alphas.logits.device))


def replaying(iteration: Iteration, graphs: Graphs) -> Callable[[Phase], Phase]:
    """Phases whose steps are recorded by `graphs`; learning rates move into tensors, where graphs read them."""
    for optimizer in (iteration.alpha_optimizer, iteration.weights.optimizer):
        for group in optimizer.param_groups:
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=group["params"][0].device)
    return partial(Replayed, iteration=iteration, graphs=graphs)
