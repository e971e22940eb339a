"""What mixed_sum's kernels need to know of the terms: the weight of each input, which inputs are alive, in a table.

Legend: U inputs, n terms, L length of a row of the table (triton_tiles.py), UB and NB powers of two.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ddarts_kernels.mixed_sum.triton_tiles import (
    ADDRESS,
    BATCH,
    COUNT,
    DEAD,
    KIND,
    NORM,
    ORDER,
    ROWS,
    SOURCE,
    TARGET,
    row,
)
from ddarts_kernels.triton_launch import launch
from ddarts_kernels.triton_table import device_table
from ddarts_kernels.triton_values import widen


@triton.jit
def weight_values(weights, m, known, WIDE: tl.constexpr, LOGITS: tl.constexpr):
    """The weights of terms m, wide, σ applied to logits."""
    values = widen(tl.load(weights + m, known, other=0.0), WIDE)
    if LOGITS:
        values = tl.sigmoid(values)
    return values


@triton.jit
def kept_terms(keep, m, terms):
    """Which of the terms m exist and are not left out."""
    known = m < terms
    if keep is not None:
        known = known & (tl.load(keep + m, known, other=0) != 0)
    return known


@triton.jit(do_not_specialize=["inputs", "terms"])
def _weigh_inputs(
    weights,
    keep,
    table,
    totals,
    inputs,
    terms,
    length,
    LOGITS: tl.constexpr,
    ALL: tl.constexpr,
    UB: tl.constexpr,
    NB: tl.constexpr,
):
    """One program. totals[u] = sum of the kept weights of input u; rows KIND, ORDER, COUNT of the table.

    The sum runs over the inputs that are alive; without ALL only over those whose own gradient needs it.
    """
    u = tl.arange(0, UB)
    total = tl.zeros([UB], totals.dtype.element_ty)
    readers = tl.zeros([UB], tl.int32)
    for first in range(0, terms, NB):
        m = first + tl.arange(0, NB)
        kept = kept_terms(keep, m, terms)
        source = tl.load(row(table, length, SOURCE) + m, kept, other=-1)
        values = weight_values(weights, m, kept, total.dtype, LOGITS)
        reads = (source[None, :] == u[:, None]) & kept[None, :]
        total += tl.sum(tl.where(reads, values[None, :], 0.0), axis=1)
        readers += tl.sum(reads.to(tl.int32), axis=1)
    exists = u < inputs
    kind = tl.where(readers > 0, tl.load(row(table, length, NORM) + u, exists, other=0), DEAD)
    summed = exists & (readers > 0)
    if not ALL:
        summed = summed & (kind == BATCH) & (tl.load(row(table, length, TARGET) + u, exists, other=0) != 0)
    place = tl.cumsum(summed.to(tl.int32), axis=0) - 1
    tl.store(totals + u, total, exists)
    tl.store(row(table, length, KIND) + u, kind, exists)
    tl.store(row(table, length, ORDER) + place, u.to(tl.int64), summed)
    tl.store(row(table, length, COUNT), tl.sum(summed.to(tl.int64), axis=0))


def plan(
    addresses: Sequence[int],
    targets: Sequence[int],
    weights: Tensor,
    source: Sequence[int],
    norm: Sequence[int],
    keep: Tensor | None,
    logits: bool,
    wide: torch.dtype,
    sum_all: bool = True,
) -> tuple[Tensor, Tensor, int]:
    """(table, totals [U], L) on the device of the weights: two launches, or more for more than 80 inputs."""
    inputs, terms = len(addresses), len(source)
    length = triton.cdiv(max(inputs, terms), 16) * 16  # a multiple of 16, so that no other length is compiled for
    given = (addresses, targets, source, norm)
    values = [value for line in given for value in (*line, *[0] * (length - len(line)))]
    table = device_table(values, ROWS * length, weights.device)
    totals = weights.new_empty(inputs, dtype=wide)
    launch(
        _weigh_inputs,
        (1,),
        weights=weights,
        keep=keep,
        table=table,
        totals=totals,
        inputs=inputs,
        terms=terms,
        length=length,
        LOGITS=logits,
        ALL=sum_all,
        UB=triton.next_power_of_2(inputs),
        NB=32,
    )
    return table, totals, length


def known_plan(addresses: Sequence[int], norm: Sequence[int], device: torch.device) -> tuple[Tensor, int]:
    """(table, L) for inputs that are all alive, with nothing to weigh: two launches, or one for up to 32 inputs."""
    inputs = len(addresses)
    length = triton.cdiv(inputs, 16) * 16
    rows: list[Sequence[int]] = [()] * ROWS
    for name, line in ((ADDRESS, addresses), (KIND, norm), (ORDER, range(inputs)), (COUNT, [inputs])):
        rows[name.value] = line
    values = [value for line in rows for value in (*line, *[0] * (length - len(line)))]
    return device_table(values, len(values), device), length
