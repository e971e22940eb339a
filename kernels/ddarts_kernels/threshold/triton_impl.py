"""threshold in Triton: reference.py says what is computed. One program to a cell, no loops over edges or operations.

Legend: S cells, E edges, K operations, R rows of the table; EB, KB and RB the powers of two that hold E, K and 3 R.
What comes before what is found by counting: the rank of an edge is how many beat it, and a gene's row of the table is
how many stay before it.
"""

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from ddarts_kernels.threshold import reference
from ddarts_kernels.triton_launch import Launch, launch, listed
from ddarts_kernels.triton_values import widen

DARTS = tl.constexpr(int(reference.Method.DARTS))
EDGE = tl.constexpr(int(reference.Method.THRESHOLD_EDGE))
COMPLETE = tl.constexpr(int(reference.Method.THRESHOLD_COMPLETE))
EDGES_PER_NODE = tl.constexpr(reference.EDGES_PER_NODE)


@triton.jit
def _node_of(edge, STEPS: tl.constexpr):
    """(target node, source) of each edge."""
    node = tl.full(edge.shape, 2, tl.int32)
    first = tl.zeros(edge.shape, tl.int32)
    for j in tl.static_range(3, STEPS + 2):
        reached = edge >= (j - 2) * (j + 1) // 2
        node += reached.to(tl.int32)
        first = tl.where(reached, (j - 2) * (j + 1) // 2, first)
    return node, edge - first


@triton.jit
def _values(alphas, at, known, LOGITS: tl.constexpr):
    """Mixing weights in float64: NaN below every number, as is what pads the block."""
    stored = tl.load(alphas + at, known, other=0.0)
    values = widen(stored, tl.float32).to(tl.float64) if stored.dtype.primitive_bitwidth < 64 else stored
    if LOGITS:
        values = 1.0 / (1.0 + tl.exp(-values))
    return tl.where(known & (values == values), values, float("-inf"))


@triton.jit
def _best_edges(values, known, edge, node, KB: tl.constexpr):
    """(candidates [EB, KB]: the best operation of the two best edges of each node; rank of each edge at its node)."""
    k = tl.arange(0, KB)[None, :]
    best = tl.max(values, axis=1)
    operation = tl.min(tl.where(known & (values == best[:, None]), k, KB), axis=1)
    above = (best[None, :] > best[:, None]) | ((best[None, :] == best[:, None]) & (edge[None, :] < edge[:, None]))
    rank = tl.sum((above & (node[None, :] == node[:, None])).to(tl.int32), axis=1)
    return known & (k == operation[:, None]) & (rank < EDGES_PER_NODE)[:, None], rank


@triton.jit
def _last_best(values, known, KB: tl.constexpr):
    """The best known operation of each edge, the last of equals, [EB]; -1 where none is known."""
    best = tl.max(tl.where(known, values, float("-inf")), axis=1)
    return tl.max(tl.where(known & (values == best[:, None]), tl.arange(0, KB)[None, :], -1), axis=1)


@triton.jit
def _threshold(
    keep,
    table,
    counts,
    alphas,
    threshold: tl.float64,
    edges,
    operations,
    rows,
    METHOD: tl.constexpr,
    STEPS: tl.constexpr,
    LOGITS: tl.constexpr,
    EB: tl.constexpr,
    KB: tl.constexpr,
    RB: tl.constexpr,
):
    cell = tl.program_id(0).to(tl.int64)
    edge = tl.arange(0, EB)
    k = tl.arange(0, KB)
    node, source = _node_of(edge, STEPS)
    known = (edge < edges)[:, None] & (k < operations)[None, :]
    at = cell * edges * operations + edge[:, None] * operations + k[None, :]
    values = _values(alphas, at, known, LOGITS)

    edge_place = edge  # in whose order genes are listed
    stay = known
    best = tl.full([EB], -1, tl.int32)
    if METHOD == EDGE:
        best = _last_best(values, known, KB)
        others = known & (k[None, :] != best[:, None])
        second = _last_best(values, others, KB)
        stay = known & ((k[None, :] == best[:, None]) | (k[None, :] == second[:, None]))
    elif METHOD != COMPLETE:
        stay, rank = _best_edges(values, known, edge, node, KB)
        edge_place = node * EB + rank
    if METHOD != DARTS:
        # Beside a plain Python number (in the interpreter) the comparison would be made in float32.
        stay = stay & (values >= tl.full([EB, KB], threshold, tl.float64))
    tl.store(keep + at, stay, known)

    staying = stay.to(tl.int32)
    on_edge = tl.sum(staying, axis=1)
    before_edge = tl.sum(tl.where(edge_place[None, :] < edge_place[:, None], on_edge[None, :], 0), axis=1)
    before = tl.cumsum(staying, axis=1) - staying
    if METHOD == EDGE:  # the better one is listed last
        before = tl.where(k[None, :] == best[:, None], on_edge[:, None] - 1, 0)
    before += before_edge[:, None]
    count = tl.sum(on_edge, axis=0)
    tl.store(counts + cell, count)

    line = table + cell * rows * 3
    gene = line + before * 3
    tl.store(gene, tl.broadcast_to(node[:, None], [EB, KB]), stay)
    tl.store(gene + 1, tl.broadcast_to(source[:, None], [EB, KB]), stay)
    tl.store(gene + 2, tl.broadcast_to(k[None, :], [EB, KB]), stay)
    unused = tl.arange(0, RB)
    tl.store(line + unused, -1, (unused >= count * 3) & (unused < rows * 3))


def threshold(alphas: Tensor, steps: int, method: int, threshold: float, logits: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See reference.threshold. One launch."""
    cells, edges, operations = alphas.shape
    rows = reference.rows(method, steps, operations)
    keep = torch.empty(alphas.shape, dtype=torch.bool, device=alphas.device)
    table = alphas.new_empty((cells, rows, 3), dtype=torch.int32)
    counts = alphas.new_empty(cells, dtype=torch.int32)
    if cells:
        with torch.cuda.device_of(alphas):
            launch(
                _threshold,
                (cells,),
                keep=keep,
                table=table,
                counts=counts,
                alphas=alphas.contiguous(),
                threshold=threshold,
                edges=edges,
                operations=operations,
                rows=rows,
                METHOD=method,
                STEPS=steps,
                LOGITS=logits,
                EB=triton.next_power_of_2(edges),
                KB=triton.next_power_of_2(operations),
                RB=triton.next_power_of_2(rows * 3),
            )
    return keep, table, counts


def ahead_of_time() -> Iterator[tuple[str, Launch]]:
    """The launch of each method, for the α of a supernet's cells, by a name for the call."""
    for dtype in (torch.float32, torch.bfloat16):
        for method in reference.Method:
            with listed() as launches:
                threshold(torch.empty(13, 27, 12, dtype=dtype), 6, int(method), 0.85, True)
            yield from ((f"{method.name.lower()} {str(dtype)[6:]}", found) for found in launches)
