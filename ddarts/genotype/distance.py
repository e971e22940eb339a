"""Distance between two architectures, from the operations on their edges.

A cell becomes a set of rows, one an edge, of the 12 DARTOpti operations that are present. Two rows differ by the
Hamming distance weighted by the operations' measured accuracies (`op_accuracy.json`), two cells by the symmetric
Hausdorff distance of their sets of rows, two architectures by the mean over their cells paired in order.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ddarts.genotype.schema import Genotype
from ddarts.runtime.errors import DdartsError, UsageError
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
    vector = _vector(published_weights() if weights is None else weights)
    pairs = zip(expand(a), expand(b), strict=False)
    cells = [_hausdorff(rows_a, rows_b, vector) for rows_a, rows_b in pairs]
    if strict:
        cells += [1.0] * abs(len(a.cells) - len(b.cells))
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


@cache
def published_weights() -> Mapping[str, float]:
    """The published accuracy of every operation, in per cent."""
    return json.loads((resources.files(__package__) / "op_accuracy.json").read_text(encoding="utf-8"))


def _vector(weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Weights in the operations' order, summing to 1."""
    missing = [op for op in DARTOPTI.operations if op not in weights]
    if missing:
        raise UsageError(f"weights: no weight for {', '.join(missing)}")
    for op in DARTOPTI.operations:
        value = weights[op]
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise UsageError(f"weights: {op} is {value}: a number of at least 0 is expected")
    vector = np.array([weights[op] for op in DARTOPTI.operations], dtype=np.float64)
    if vector.sum() == 0:
        raise UsageError("weights: all are 0: at least one operation must count")
    return vector / vector.sum()


def _hausdorff(a: Rows, b: Rows, weights: NDArray[np.float64]) -> float:
    """The larger of both directed distances between two sets of rows."""
    between = (a[:, None, :] != b[None, :, :]) @ weights
    return float(max(between.min(axis=1).max(), between.min(axis=0).max()))
