"""What the kernels of a fused cell do while it runs: seconds, bytes and floating-point operations of every call.

The product has no timing code: while a record is kept, what the dispatcher picks is wrapped.
Legend: E edges, S kinds of kernel, N images, h, w pixels of the output, C channels, K kernel size.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from ddarts.ops import dispatch

# Where the kernels' arguments stand, see ops/schema.py.
_STAGE_DEPTHWISE, _BACKWARD_DEPTHWISE, _NEED_WEIGHTS = 1, 4, 10


@dataclass(frozen=True)
class Call:
    """One call of a kernel. nbytes: every tensor that goes in read once, every one that comes out written once."""

    kernel: str
    seconds: float
    nbytes: int
    flops: int


@contextmanager
def recorded(device: torch.device) -> Iterator[list[Call]]:
    """All kernel calls from now to the end of the block."""
    calls: list[Call] = []
    pick = dispatch.pick

    def wrapped(op: str, kind: str, *shown: Any) -> Callable[..., Any]:
        function = pick(op, kind, *shown)

        def run(*arguments: Any) -> Any:
            _wait(device)
            begin = time.perf_counter()
            results = function(*arguments)
            _wait(device)
            seconds = time.perf_counter() - begin
            calls.append(
                Call(_name(op, arguments), seconds, _bytes(arguments, results), _flops(op, arguments, results))
            )
            return results

        return run

    with patch.object(dispatch, "pick", wrapped):
        yield calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(op: str, arguments: tuple[Any, ...]) -> str:
    """The kernel, and for which part of a cell."""
    if op == "stage":
        return f"{op}, {'first' if len(arguments[_STAGE_DEPTHWISE]) > 1 else 'second'}"
    if op == "stage_backward":
        which = "first" if len(arguments[_BACKWARD_DEPTHWISE]) > 1 else "second"
        return f"{op}, {which}, {'with' if arguments[_NEED_WEIGHTS] else 'without'} weights"
    return op


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _bytes(arguments: tuple[Any, ...], results: Any) -> int:
    """Tensors given twice are read once."""
    given = {(x.data_ptr(), x.shape): x.nbytes for x in _tensors(arguments)}
    return sum(given.values()) + sum(x.nbytes for x in _tensors(results))


def _flops(op: str, arguments: tuple[Any, ...], results: Any) -> int:
    """An addition, multiplication or comparison counts one; what is computed anew rather than kept does not count."""
    if op == "stage":
        return sum(_stage(y.numel(), d) for y, d in zip(results[0], arguments[_STAGE_DEPTHWISE], strict=True))
    if op == "stage_backward":
        once = sum(_stage(y.numel(), d) for y, d in zip(arguments[1], arguments[_BACKWARD_DEPTHWISE], strict=True))
        return once * (2 if arguments[_NEED_WEIGHTS] else 1)
    if op in ("mixed_sum", "node_sum"):
        return 2 * sum(x.numel() for x in arguments[0])
    if op == "project":
        return 2 * results[0].numel() * arguments[0].shape[-1]
    if op == "project_backward":
        return 2 * arguments[1].numel() * arguments[3].shape[-1] * (2 if arguments[-1] else 1)
    if op == "channel_sums":
        return 3 * sum(x.numel() for x in arguments[1])
    if op == "pools":
        return 2 * 9 * results[0].numel()
    grads, most = arguments[:2]  # pools_backward: a factor for each pool and edge, then both windows
    return (4 * len(grads) + 2 * 9) * most.numel()


def _stage(values: int, depthwise: Tensor) -> int:
    """A depthwise convolution [E, K, K, C] and a pointwise one, for `values` = E·N·h·w·C values of their output."""
    return 2 * values * (depthwise.shape[1] ** 2 + depthwise.shape[-1])
