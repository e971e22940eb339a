"""threshold in plain torch: for a whole stack of cells at once, on any device, without waiting for it.

Legend: S cells, E edges, K operations, R rows of the table. Edges are ordered by target node, then by source; node j
(2 ... steps + 1) has the edges from the states 0 ... j - 1.

Values are compared in float64. Ties: the first operation is an edge's best one; edges of equal best operation keep
their order; of equal operations `threshold_edge` takes the later ones. A NaN is below every number.
"""

from collections.abc import Iterator
from enum import IntEnum

import torch
from torch import Tensor

EDGES_PER_NODE = 2
OPERATIONS_PER_EDGE = 2


class Method(IntEnum):
    """The four ways to parse mixing weights."""

    DARTS = 0
    THRESHOLD_SPARSE = 1
    THRESHOLD_EDGE = 2
    THRESHOLD_COMPLETE = 3


def rows(method: int, steps: int, operations: int) -> int:
    """R: how many operations the method can keep in a cell."""
    edges = steps * (steps + 3) // 2
    if method in (Method.DARTS, Method.THRESHOLD_SPARSE):
        return EDGES_PER_NODE * steps
    return edges * (min(OPERATIONS_PER_EDGE, operations) if method == Method.THRESHOLD_EDGE else operations)


def threshold(
    alphas: Tensor, steps: int, method: int, threshold: float, logits: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Mixing weights [S, E, K] (logits: σ is applied) → (keep, table, counts).

    keep: bool [S, E, K], what stays. table: int32 [S, R, 3], a row (node, source, operation) for every operation that
    stays, in the order in which the genotype lists them, -1 after the last. counts: int32 [S], rows in use.
    """
    values = alphas.double()
    values = values.sigmoid() if logits else values
    values = torch.where(values.isnan(), float("-inf"), values)
    cells, _, operations = values.shape
    keep = torch.zeros(values.shape, dtype=torch.bool, device=values.device)
    genes, stays = [], []
    for node in range(2, steps + 2):
        first = (node - 2) * (node + 1) // 2
        for source, operation in _candidates(values[:, first : first + node], method):
            edge = (first + source)[:, None]
            value = values.gather(1, edge[:, :, None].expand(-1, 1, operations))[:, 0].gather(1, operation[:, None])
            stay = (value >= threshold) | (method == Method.DARTS)
            keep.flatten(1).scatter_(1, edge * operations + operation[:, None], stay)
            genes.append(torch.stack([torch.full_like(source, node), source, operation], dim=1))
            stays.append(stay[:, 0])
    stay = torch.stack(stays, dim=1)
    capacity = rows(method, steps, operations)
    # Every gene goes to the place behind those that stay before it; what does not stay, to one that is cut off.
    place = torch.where(stay, stay.cumsum(1) - 1, capacity)
    table = values.new_full((cells, capacity + 1, 3), -1, dtype=torch.int64)
    table.scatter_(1, place[:, :, None].expand(-1, -1, 3), torch.stack(genes, dim=1))
    return keep, table[:, :capacity].int().contiguous(), stay.sum(1).int()


def _candidates(node: Tensor, method: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(source [S], operation [S]) of all that the method looks at in one node's weights [S, edges, K], in its order."""
    cells, edges, operations = node.shape
    every = range(edges)
    if method in (Method.DARTS, Method.THRESHOLD_SPARSE):
        best, operation = node.max(dim=2)
        order = best.sort(dim=1, descending=True, stable=True).indices
        for at in range(EDGES_PER_NODE):
            yield order[:, at], operation.gather(1, order[:, at : at + 1])[:, 0]
    elif method == Method.THRESHOLD_EDGE:
        order = node.sort(dim=2, stable=True).indices[:, :, -OPERATIONS_PER_EDGE:]
        for source in every:
            for at in range(order.shape[2]):
                yield torch.full_like(order[:, 0, 0], source), order[:, source, at]
    else:
        for source in every:
            for k in range(operations):
                yield tuple(torch.full((cells,), i, device=node.device) for i in (source, k))
