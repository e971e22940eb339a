"""A genotype: the operations kept on the edges of every cell, and which cells reduce.

The JSON form carries `format`, `version`, `name`, `space`, `steps`, `concat`, `reductions`, `cells` and, where
positions share cells, `sequence`. A gene is written [operation, to, from].
"""

from dataclasses import dataclass
from typing import NamedTuple

from ddarts.runtime.errors import DdartsError
from ddarts.space.primitives import OPERATIONS, SPACES
from ddarts.space.topology import INPUTS

MAX_CELLS = 1000
MAX_STEPS = 64


class Gene(NamedTuple):
    """One operation on the edge source → to."""

    op: str
    to: int
    source: int


Cell = tuple[Gene, ...]


@dataclass(frozen=True)
class Genotype:
    """An architecture. `cells` are the distinct cells; `sequence[i]` says which of them stands at position i
    (absent: each position has its own). `concat` lists the nodes that the *search* network's cell concatenates (its
    last `multiplier` nodes); a derived cell concatenates every node that has an operation."""

    name: str
    space: str
    steps: int
    concat: tuple[int, ...]
    reductions: tuple[int, ...]
    cells: tuple[Cell, ...]
    sequence: tuple[int, ...] | None = None

    @property
    def layers(self) -> int:
        """Number of cell positions."""
        return len(self.sequence or self.cells)

    def position(self, index: int) -> Cell:
        """The cell that stands at position `index`."""
        return self.cells[self.sequence[index] if self.sequence else index]


def nodes(cell: Cell) -> tuple[int, ...]:
    """Nodes that carry at least one operation, ascending; the cell concatenates these."""
    return tuple(sorted({gene.to for gene in cell}))


def live_genes(cell: Cell) -> Cell:
    """The genes whose source exists: edges that leave a node without operations are dropped."""
    present = {0, 1, *nodes(cell)}
    return tuple(gene for gene in cell if gene.source in present)


def check(genotype: Genotype, where: str, buildable: bool = True) -> Genotype:
    """Return `genotype` if it describes a network that can be built; DdartsError names `where`, cell and node.

    With `buildable` False, cells without a node and nodes without a live edge pass: such an architecture can be
    listed and compared, though no network can be made of it.
    """

    def refuse(message: str) -> None:
        raise DdartsError(f"{where}: {message}")

    if genotype.space not in SPACES:
        refuse(f"unknown space '{genotype.space}': use one of {', '.join(SPACES)}")
    if not 1 <= genotype.steps <= MAX_STEPS:
        refuse(f"steps is {genotype.steps}: allowed are 1 to {MAX_STEPS}")
    if not 1 <= len(genotype.cells) <= MAX_CELLS or genotype.layers > MAX_CELLS:
        refuse(f"has {genotype.layers} cells: allowed are 1 to {MAX_CELLS}")
    if genotype.sequence is not None and not genotype.sequence:
        refuse("sequence is empty: it must say which cell stands at every position")
    last = genotype.steps + INPUTS
    if not genotype.concat or genotype.concat != tuple(range(max(INPUTS, last - len(genotype.concat)), last)):
        refuse(f"concat is {list(genotype.concat)}: it must list the last nodes of 2 to {last - 1}, ascending")
    if list(genotype.reductions) != sorted({i for i in genotype.reductions if 0 <= i < genotype.layers}):
        refuse(f"reductions are {list(genotype.reductions)}: they must be ascending positions below {genotype.layers}")
    if genotype.sequence is not None and not all(0 <= i < len(genotype.cells) for i in genotype.sequence):
        refuse(f"sequence names a cell that is not there: cells are 0 to {len(genotype.cells) - 1}")
    for index, cell in enumerate(genotype.cells):
        problem = cell_problem(cell, genotype.steps, buildable)
        if problem:
            refuse(f"cell {index}: {problem}")
    return genotype


def cell_problem(cell: Cell, steps: int, buildable: bool = True) -> str | None:
    """Why `cell` cannot be built, or None; `buildable` as in `check`."""
    if not cell and buildable:
        return "is empty: at least one node needs an operation"
    seen: set[Gene] = set()
    for gene in cell:
        if gene.op not in OPERATIONS:
            return f"node {gene.to}: unknown operation '{gene.op}': use one of {', '.join(OPERATIONS)}"
        if not INPUTS <= gene.to < steps + INPUTS:
            return f"node {gene.to} does not exist: nodes are 2 to {steps + 1}"
        if not 0 <= gene.source < gene.to:
            return f"node {gene.to}: an edge comes from state {gene.source}: it must come from 0 to {gene.to - 1}"
        if gene in seen:
            return f"node {gene.to}: {gene.op} from state {gene.source} is listed twice"
        seen.add(gene)
    fed = {gene.to for gene in live_genes(cell)}
    starved = [node for node in nodes(cell) if node not in fed]
    if starved and buildable:
        return f"node {starved[0]}: all its edges come from nodes without operations"
    return None
