"""From mixing weights σ(α) to the genes that a network keeps.

Ties: the first index wins for an edge's best operation; edges of equal best operation keep their order; of two equal
operations `threshold_edge` prefers the later one. Genes come in node order, within a node in the order in which the
method takes them: that order is part of the published format.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ddarts.genotype.schema import Cell, Gene, cell_problem
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space import primitives, topology
from ddarts.space.primitives import Space

METHODS = ("darts", "threshold_sparse", "threshold_edge", "threshold_complete")
DEFAULT_METHOD = "threshold_sparse"
DEFAULT_THRESHOLD = 0.85
EDGES_PER_NODE = 2
OPERATIONS_PER_EDGE = 2

Weights = NDArray[np.floating]


def parse(
    weights: Weights,
    space: Space | str,
    steps: int,
    method: str = DEFAULT_METHOD,
    threshold: float = DEFAULT_THRESHOLD,
    where: str = "alphas",
) -> tuple[Cell, ...]:
    """The cells that `method` keeps of `weights`, σ(α) as floats [cells, edges, operations] in [0, 1].

    A cell may come out empty or with a starved node: see `invalid_cells`. DdartsError names `where` and what is wrong
    with the weights; UsageError a wrong method, threshold or space.
    """
    space = _space(space)
    checked = check_weights(weights, space, steps, where)
    check_method(method, threshold)
    return tuple(
        tuple(Gene(space.operations[op], node, source) for node, source, op in _kept(cell, steps, method, threshold))
        for cell in checked
    )


def keep_mask(
    weights: Weights,
    space: Space | str,
    steps: int,
    method: str = DEFAULT_METHOD,
    threshold: float = DEFAULT_THRESHOLD,
    where: str = "alphas",
) -> NDArray[np.bool_]:
    """Bool [cells, edges, operations], True where `parse` keeps the operation."""
    checked = check_weights(weights, _space(space), steps, where)
    check_method(method, threshold)
    mask = np.zeros(checked.shape, dtype=bool)
    for index, cell in enumerate(checked):
        for node, source, op in _kept(cell, steps, method, threshold):
            mask[index, topology.edge_index(node, source), op] = True
    return mask


def invalid_cells(cells: Sequence[Cell], steps: int) -> list[str]:
    """One line for every cell that no network can be built of: "cell 3: node 4: …"."""
    problems = ((index, cell_problem(cell, steps)) for index, cell in enumerate(cells))
    return [f"cell {index}: {problem}" for index, problem in problems if problem]


def check_method(method: str, threshold: float) -> None:
    """UsageError where the parse method is unknown or the threshold outside [0, 1]."""
    if method not in METHODS:
        raise UsageError(f"--parse_method {method}: use one of {', '.join(METHODS)}")
    if not 0 <= threshold <= 1:
        raise UsageError(f"--op_threshold {threshold}: it must lie between 0 and 1")


def check_weights(weights: Weights, space: Space, steps: int, where: str) -> NDArray[np.float64]:
    """`weights` as float64 if they are σ(α) for cells of `steps` nodes over `space`; DdartsError says what is not."""
    array = np.asarray(weights)
    if array.dtype.kind != "f":
        raise DdartsError(f"{where}: has type {array.dtype}: floating-point numbers are expected")
    rows, columns = topology.num_edges(steps), len(space)
    if array.ndim != 3 or array.shape[0] == 0 or array.shape[1:] != (rows, columns):
        raise DdartsError(
            f"{where}: has shape {array.shape}: cells × {rows} edges × {columns} operations are expected "
            f"(steps {steps}, space {space.name})"
        )
    checked = array.astype(np.float64)
    outside = (checked < 0) | (checked > 1)
    for problem, bad in (("NaN or infinite", ~np.isfinite(checked)), ("outside [0, 1]", outside)):
        if bad.any():
            cell, edge, op = (int(i) for i in np.argwhere(bad)[0])
            raise DdartsError(
                f"{where}: cell {cell}, edge {edge}, {space.operations[op]} is {checked[cell, edge, op]}, {problem}: "
                f"values must be σ(α)"
            )
    return checked


def _space(space: Space | str) -> Space:
    return primitives.space(space) if isinstance(space, str) else space


def _kept(cell: NDArray[np.float64], steps: int, method: str, threshold: float) -> Iterator[tuple[int, int, int]]:
    """(node, source, operation index) of everything kept in one cell, in the published order."""
    for node in topology.nodes(steps):
        rows = cell[topology.node_edges(node)]
        for source in _sources(rows, method):
            for op in _operations(rows[source], method, threshold):
                yield node, source, op


def _sources(rows: NDArray[np.float64], method: str) -> list[int]:
    """Sources of the edges that a method looks at: all, or the two whose best operation is largest."""
    if method in ("threshold_edge", "threshold_complete"):
        return list(range(len(rows)))
    return np.argsort(-rows.max(axis=1), kind="stable")[:EDGES_PER_NODE].tolist()


def _operations(row: NDArray[np.float64], method: str, threshold: float) -> list[int]:
    """Indices of the operations kept on one edge."""
    if method == "darts":
        return [int(row.argmax())]
    if method == "threshold_sparse":
        candidates = [int(row.argmax())]
    elif method == "threshold_edge":
        candidates = np.argsort(row, kind="stable")[-OPERATIONS_PER_EDGE:].tolist()
    else:
        candidates = list(range(len(row)))
    return [op for op in candidates if row[op] >= threshold]
