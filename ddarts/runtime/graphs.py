"""A network's forward and backward passes as CUDA graphs: one launch each, instead of one for every operation.

A graph repeats what was captured, on the same memory: shapes are fixed, and so is whatever Python decided meanwhile.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Capture = Callable[[nn.Module, tuple[Tensor, ...]], Callable[[Tensor], Any]]


class GraphedForward:
    """`network` in training, captured for the shape of the first batch; other shapes run operation by operation.

    key: what Python decides by, besides shapes; where it changes, the network is captured again.
    capture: torch.cuda.make_graphed_callables, or what stands in for it: it gives a differentiable function.
    """

    def __init__(
        self, network: nn.Module, key: Callable[[], Hashable] = lambda: None, capture: Capture | None = None
    ) -> None:
        self.network, self.key, self.capture = network, key, capture or _capture
        self._plain = network.forward
        self._graphed: Callable[[Tensor], Any] = network.forward
        self._captured: Hashable = None
        self._shape: torch.Size | None = None

    def __call__(self, images: Tensor) -> Any:
        self._shape = self._shape or images.shape
        if images.shape != self._shape:
            return self._plain(images)
        key = (self.key(), images.dtype, torch.is_autocast_enabled(images.device.type))
        if key != self._captured:
            self._graphed, self._captured = self._graph(images), key
        return self._graphed(images)

    def _graph(self, images: Tensor) -> Callable[[Tensor], Any]:
        sample = images.detach().clone(memory_format=torch.preserve_format)
        with _unchanged(self.network, images.device), _without_cast_cache():
            try:
                return self.capture(self.network, (sample,))
            finally:
                self.network.forward = self._plain  # capturing puts the graph in its place


def _capture(network: nn.Module, sample: tuple[Tensor, ...]) -> Callable[[Tensor], Any]:
    graphed: Any = torch.cuda.make_graphed_callables(network, sample, allow_unused_input=True)
    return graphed.forward


@contextmanager
def _unchanged(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Passes meanwhile leave BN statistics and the random generators as they were."""
    before = [buffer.clone() for buffer in network.buffers()]
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
        yield
    with torch.no_grad():
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)


@contextmanager
def _without_cast_cache() -> Iterator[None]:
    """Autocast keeps weights that it has cast; a graph would read those of the step that it was captured in."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
