"""What a drawing says about a genotype: the cells that are used, where they stand, their edges and their titles."""

from collections.abc import Iterable
from dataclasses import dataclass

from ddarts.genotype.liveness import dead_positions
from ddarts.genotype.schema import Cell, Genotype, cell_problem, live_genes, nodes
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space.primitives import OPERATIONS
from ddarts.space.topology import nodes as all_nodes

SEARCH_MULTIPLIER = 4  # nodes that a search network concatenates, unless told otherwise
USUAL_STEPS = 4

Edges = dict[tuple[int, int], tuple[str, ...]]


@dataclass(frozen=True)
class UsedCell:
    """A distinct cell and the positions at which it stands, split by what it does there; `dead` are those of them
    from where no path leads to the output of the network."""

    index: int
    cell: Cell
    steps: int
    normal: tuple[int, ...]
    reduction: tuple[int, ...]
    dead: tuple[int, ...] = ()

    @property
    def positions(self) -> tuple[int, ...]:
        """All positions of the cell, ascending."""
        return tuple(sorted(self.normal + self.reduction))

    @property
    def kept(self) -> tuple[int, ...]:
        """Nodes that exist and that the cell concatenates."""
        return nodes(self.cell)

    @property
    def missing(self) -> tuple[int, ...]:
        """Nodes of the search cell that kept no operation."""
        return tuple(node for node in all_nodes(self.steps) if node not in self.kept)

    @property
    def role(self) -> str:
        """`normal`, `reduction`, or which positions reduce when the cell does both."""
        if not self.reduction:
            return "normal"
        if not self.normal:
            return "reduction"
        return f"normal, reduction at {ranges(self.reduction)}"

    @property
    def place(self) -> str:
        """`position 3` or `positions 0–2, 11`, and which of them are dead."""
        words = f"position{'s' if len(self.positions) > 1 else ''} {ranges(self.positions)}"
        if not self.dead:
            return words
        return f"{words}, dead" if self.dead == self.positions else f"{words}, dead at {ranges(self.dead)}"


def edges_of(cell: Cell) -> Edges:
    """Operations of every live edge as {(to, source): operations}, ordered by target, source and operation."""
    found: dict[tuple[int, int], list[str]] = {}
    for gene in sorted(live_genes(cell), key=lambda gene: (gene.to, gene.source, OPERATIONS.index(gene.op))):
        found.setdefault((gene.to, gene.source), []).append(gene.op)
    return {edge: tuple(operations) for edge, operations in found.items()}


def used_cells(genotype: Genotype) -> tuple[UsedCell, ...]:
    """The distinct cells that stand in the network, by their index in `cells`; unused ones are left out."""
    order = cell_order(genotype)
    reductions, dead = set(genotype.reductions), set(dead_positions(genotype))
    return tuple(
        UsedCell(
            index=index,
            cell=genotype.cells[index],
            steps=genotype.steps,
            normal=tuple(i for i, used in enumerate(order) if used == index and i not in reductions),
            reduction=tuple(i for i, used in enumerate(order) if used == index and i in reductions),
            dead=tuple(i for i, used in enumerate(order) if used == index and i in dead),
        )
        for index in sorted(set(order))
    )


def chosen(genotype: Genotype, indices: Iterable[int] | None) -> tuple[UsedCell, ...]:
    """The used cells with these indices (None: all).

    UsageError names an index that is not there or not used; DdartsError a cell of which no network can be built.
    """
    cells = {cell.index: cell for cell in used_cells(genotype)}
    for cell in cells.values():
        problem = cell_problem(cell.cell, genotype.steps)
        if problem:
            raise DdartsError(f"{genotype.name}: cell {cell.index}: {problem}")
    if indices is None:
        return tuple(cells.values())
    found = {}
    for index in indices:
        # Equal cells are drawn once, as the first of them.
        twin = genotype.cells.index(genotype.cells[index]) if 0 <= index < len(genotype.cells) else None
        if twin not in cells:
            raise UsageError(f"--cell {index}: '{genotype.name}' has the cells {ranges(cells)}")
        found[twin] = cells[twin]
    return tuple(found.values())


def cell_order(genotype: Genotype) -> tuple[int, ...]:
    """Index of the distinct cell at every position; equal cells count as one, named by the first."""
    first = {cell: index for index, cell in reversed(tuple(enumerate(genotype.cells)))}
    return tuple(first[genotype.position(i)] for i in range(genotype.layers))


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in short: 0, 1, 2, 5 → `0–2, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    pieces = (str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}–{b}" for a, b in runs)
    return ", ".join(pieces)


def summary(genotype: Genotype) -> str:
    """One line: search space, nodes per cell, positions, distinct cells, reductions."""
    cells = used_cells(genotype)
    positions = genotype.layers
    count = f"{positions} cell{'s' if positions > 1 else ''}"
    if len(cells) != positions:
        count += f" ({len(cells)} distinct)"
    reductions = f"reductions at {ranges(genotype.reductions)}" if genotype.reductions else "no reduction"
    return f"{genotype.space} space · {genotype.steps} nodes a cell · {count} · {reductions}"


def notes(genotype: Genotype) -> tuple[str, ...]:
    """Sentences that belong under a drawing: how the network differs from the one that was searched."""
    sentences = ["States 0 and 1 are the outputs of the two cells before, c_{k-2} and c_{k-1}."]
    steps, last = genotype.steps, genotype.steps + 1
    missing = any(cell.missing for cell in used_cells(genotype))
    if missing or steps != USUAL_STEPS:
        here = f", here {ranges(range(last - SEARCH_MULTIPLIER + 1, last + 1))}" if steps > SEARCH_MULTIPLIER else ""
        sentences.append(
            f"A search network concatenates the last `multiplier` nodes ({SEARCH_MULTIPLIER} by default{here}); "
            "the derived network drawn here concatenates every node that exists."
        )
    dead = dead_positions(genotype)
    if dead:
        sentences.append(
            f"Dead (†) at {ranges(dead)}: no path leads from there to the output of the network "
            "(--baseline_wiring chain lets every cell read the previous one)."
        )
    order = set(cell_order(genotype))
    unused = [i for i, cell in enumerate(genotype.cells) if i not in order and cell not in genotype.cells[:i]]
    if unused:
        sentences.append(f"Not used at this depth: cell{'s' if len(unused) > 1 else ''} {ranges(unused)}.")
    if missing:
        sentences.append("A missing node kept no operation: it does not exist, and no edge leaves it.")
    return tuple(sentences)
