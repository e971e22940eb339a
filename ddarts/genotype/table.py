"""Reading a genotype's cells from the table that the thresholding operator leaves. [numpy only]"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddarts.genotype.schema import Cell, Gene
from ddarts.space.primitives import Space


def cells_of_table(table: NDArray[np.integer[Any]], counts: NDArray[np.integer[Any]], space: Space) -> tuple[Cell, ...]:
    """table [cells, rows, 3] with rows (node, source, operation) of which the first counts[cell] are in use → cells."""
    return tuple(
        tuple(Gene(space.operations[op], node, source) for node, source, op in rows[:count].tolist())
        for rows, count in zip(table, counts.tolist(), strict=True)
    )
