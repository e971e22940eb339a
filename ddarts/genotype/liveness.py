"""Which cells of a network its output depends on, and the chain in which it depends on all of them.

A cell reads the outputs of the two cells before it as states 0 (the one before the previous) and 1 (the previous).
The published baselines read state 0 alone, so that every other cell is dead: no path leads from it to the classifier.
"""

from dataclasses import replace

from ddarts.genotype.schema import Cell, Genotype
from ddarts.space.topology import INPUTS

BEFORE_LAST, LAST = 0, 1


def dead_positions(genotype: Genotype) -> tuple[int, ...]:
    """Positions whose cells have no influence on the output of the network, ascending."""
    alive = {genotype.layers - 1}
    for position in reversed(range(genotype.layers)):
        if position in alive:
            read = {gene.source for gene in genotype.position(position)}
            alive |= {position - INPUTS + state for state in (BEFORE_LAST, LAST) if state in read}
    return tuple(i for i in range(genotype.layers) if i not in alive)


def chained_cell(cell: Cell) -> Cell:
    """`cell`, reading the previous cell where it reads only the one before that."""
    if any(gene.source == LAST for gene in cell):
        return cell
    return tuple(gene._replace(source=LAST) if gene.source == BEFORE_LAST else gene for gene in cell)


def chained(genotype: Genotype) -> Genotype:
    """`genotype` with every cell chained: each reads its previous cell, so that none is dead."""
    return replace(genotype, cells=tuple(map(chained_cell, genotype.cells)))


def dead_cells_remark(genotype: Genotype) -> str | None:
    """What to say of dead cells in a network of `genotype`, or None where there are none."""
    dead = dead_positions(genotype)
    if not dead:
        return None
    which = f"cells {', '.join(map(str, dead))} are" if len(dead) > 1 else f"cell {dead[0]} is"
    return (
        f"'{genotype.name}': {which} dead: no path leads from there to the output; "
        "--baseline_wiring chain lets every cell read the previous one"
    )
