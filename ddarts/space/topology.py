"""How a cell is wired, as pure data.

States 0 and 1 are the outputs of the two previous cells; nodes 2 … steps+1 follow, each with an edge from
every earlier state. Edges are ordered by target node, then by source.
"""

from functools import cache

INPUTS = 2


@cache
def edges(steps: int) -> tuple[tuple[int, int], ...]:
    """All edges of a cell as (to, from), in the order in which α rows are stored: 14 for 4 steps, 27 for 6."""
    return tuple((node, source) for node in nodes(steps) for source in range(node))


def nodes(steps: int) -> range:
    """The nodes a cell computes: 2 … steps+1."""
    return range(INPUTS, steps + INPUTS)


def num_edges(steps: int) -> int:
    """Number of edges of a cell, Σ_{i<steps} (i+2)."""
    return steps * (steps + 3) // 2


def edge_index(to: int, source: int) -> int:
    """Row of the edge source → to."""
    return num_edges(to - INPUTS) + source


def node_edges(node: int) -> slice:
    """Rows of all edges that end in `node`; row i of the slice comes from state i."""
    first = edge_index(node, 0)
    return slice(first, first + node)


@cache
def targets(source: int, steps: int) -> range:
    """The nodes that state `source` has an edge to."""
    return range(max(source + 1, INPUTS), steps + INPUTS)


def rows_by_source(steps: int) -> tuple[int, ...]:
    """Rows of all edges, sorted by source, then by target."""
    return tuple(edge_index(to, source) for source in range(steps + INPUTS - 1) for to in targets(source, steps))


def steps_of(num_rows: int) -> int:
    """Steps of a cell with `num_rows` edges; ValueError when no cell has that many."""
    steps = 0
    while num_edges(steps) < num_rows:
        steps += 1
    if steps == 0 or num_edges(steps) != num_rows:
        raise ValueError(f"no cell has {num_rows} edges (5 for 2 steps, 9 for 3, 14 for 4, 20 for 5, 27 for 6)")
    return steps


def default_reductions(layers: int) -> tuple[int, ...]:
    """Positions ⌊L/3⌋ and ⌊2L/3⌋ of the reduction cells in a network of `layers` cells."""
    return tuple(sorted({layers // 3, 2 * layers // 3}))
