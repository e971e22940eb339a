"""Distance between two architectures, from the operations on their edges.

A cell becomes a set of rows, one an edge, of the 12 DARTOpti operations that are present. Two rows differ by the
Hamming distance weighted by the operations' accuracies (`op_weights`), two cells by the symmetric
Hausdorff distance of their sets of rows, two architectures by the mean over their cells paired in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddarts.genotype.op_weights import check_weights, published_weights
from ddarts.genotype.schema import Genotype
from ddarts.runtime.errors import DdartsError
from ddarts.space import topology
from ddarts.space.primitives import DARTOPTI

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Distance:
    """Distance of two architectures in [0, 1], and of every pair of cells that it is the mean of."""

    distance: float
    cells: tuple[float, ...]


def distance(a: Genotype, b: Genotype, strict: bool = False, weights: Mapping[str, float] | None = None) -> Distance:
    """Distance between `a` and `b`; of a genotype with a `sequence`, the distinct cells count.

    The published value pairs cells up to the shorter list; `strict` counts every cell without a partner as distance 1,
    so that an architecture is no longer at distance 0 from one that merely begins like it. (The cells' rows are
    compared as sets: which edge carries a row does not matter in either variant.) `weights` gives every operation's
    weight, instead of the published accuracies. UsageError on weights, DdartsError on operations that do not fit.
    """
    return _between(expand(a), expand(b), strict, _vector(weights))


def distances(
    genotypes: Sequence[Genotype], strict: bool = False, weights: Mapping[str, float] | None = None
) -> list[list[float]]:
    """The distance of every genotype to every other, [n][n]; arguments and errors as `distance` has them."""
    vector, expanded = _vector(weights), [expand(genotype) for genotype in genotypes]
    matrix = [[0.0] * len(expanded) for _ in expanded]
    for i, first in enumerate(expanded):
        for j, second in enumerate(expanded[:i]):
            matrix[i][j] = matrix[j][i] = _between(first, second, strict, vector).distance
    return matrix


def _between(a: Sequence[Rows], b: Sequence[Rows], strict: bool, weights: NDArray[np.float64]) -> Distance:
    cells = [_hausdorff(rows_a, rows_b, weights) for rows_a, rows_b in zip(a, b, strict=False)]
    if strict:
        cells += [1.0] * abs(len(a) - len(b))
    return Distance(float(np.mean(cells)), tuple(cells))


def expand(genotype: Genotype) -> list[Rows]:
    """Every distinct cell as bool [edges, 12]: which DARTOpti operations each edge carries."""
    matrices = []
    for index, cell in enumerate(genotype.cells):
        rows = np.zeros((topology.num_edges(genotype.steps), len(DARTOPTI)), dtype=bool)
        for gene in cell:
            if gene.op not in DARTOPTI.operations:
                raise DdartsError(
                    f"{genotype.name}: cell {index}: node {gene.to}: {gene.op} is not one of the "
                    f"{len(DARTOPTI)} operations that the distance compares"
                )
            rows[topology.edge_index(gene.to, gene.source), DARTOPTI.operations.index(gene.op)] = True
        matrices.append(rows)
    return matrices


def _vector(weights: Mapping[str, float] | None) -> NDArray[np.float64]:
    """Weights in the operations' order, summing to 1."""
    checked = published_weights() if weights is None else check_weights(weights, "weights")
    vector = np.array([checked[op] for op in DARTOPTI.operations], dtype=np.float64)
    return vector / vector.sum()


def _hausdorff(a: Rows, b: Rows, weights: NDArray[np.float64]) -> float:
    """The larger of both directed distances between two sets of rows."""
    # Not a matrix product: the order in which that adds up is the machine's, and the last bit would be too.
    between = ((a[:, None, :] != b[None, :, :]) * weights).sum(axis=-1)
    return float(max(between.min(axis=1).max(), between.min(axis=0).max()))
