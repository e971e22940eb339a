"""Integers known to the host, such as the addresses of a list of tensors, in a table on the device.

A copy from ordinary host memory would make the host wait and cannot be part of a CUDA graph. The arguments of a kernel
can: they are kept with the launch. So the integers travel as arguments, up to 256 at a time, and one kernel loops over
a list of any length, which is compiled once and not for every number of inputs.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ddarts_kernels.triton_launch import launch

_LARGEST = 256
# Triton compiles anew for an argument that is 1, or small, or a multiple of 16. An odd number beyond 2^32 is none of
# these, so one kernel serves all lists of a length.
_SHIFT = tl.constexpr(1 << 33)


@triton.jit
def _write(table, values):
    for i in tl.static_range(len(values)):
        tl.store(table + i, (values[i] - _SHIFT) >> 1)


@triton.jit
def pointer(address, STORED: tl.constexpr, ALIGNED: tl.constexpr):
    """An address from the table as a pointer. ALIGNED: all are multiples of 16 bytes, so that loads can be wide."""
    start = address.to(tl.pointer_type(STORED))
    if ALIGNED:
        start = tl.multiple_of(start, 16)
    return start


def device_table(values: Sequence[int], room: int, device: torch.device) -> Tensor:
    """int64 on `device`: `values`, each 0 ... 2^61, then whatever; `room` elements or a few more."""
    chunks = []
    for first in range(0, len(values), _LARGEST):
        chunk = values[first : first + _LARGEST]
        chunks.append([*chunk, *[0] * (max(16, triton.next_power_of_2(len(chunk))) - len(chunk))])
    table = torch.empty(max(room, sum(map(len, chunks))), dtype=torch.int64, device=device)
    for at, chunk in enumerate(chunks):
        encoded = tuple(2 * value + 1 + _SHIFT.value for value in chunk)
        launch(_write, (1,), warps=1, table=table[at * _LARGEST :], values=encoded)
    return table


def aligned(addresses: Sequence[int]) -> bool:
    """Whether all are multiples of 16 bytes."""
    return all(address % 16 == 0 for address in addresses)
