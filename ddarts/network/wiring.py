"""In which order a derived cell computes its nodes, and which of its edges are used.

`increasing`: nodes by increasing index; only edges that leave a node without operations are dropped.
`published`: what the published derived cell does. Nodes are taken and concatenated in the order in which the
genes first name them; an edge from a node that comes later in this order is never computed, though its weights
are there (baseline Xception 4←3, InceptionV4 6←5).
`chain`: as `increasing`, but a cell that reads only the output of the cell before the previous one, as those of the
baselines do, reads that of the previous one instead: no cell is dead.
"""

from dataclasses import replace

from ddarts.genotype.liveness import chained_cell
from ddarts.genotype.schema import Cell, Gene, Genotype, live_genes
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space.topology import INPUTS

WIRINGS = ("increasing", "published", "chain")
Plan = tuple[tuple[int, tuple[Gene, ...]], ...]


def plan(cell: Cell, wiring: str = "increasing") -> Plan:
    """The cell's nodes in order of computation, each with the genes it sums (by source, then as listed).

    UsageError for an unknown wiring; DdartsError where a node is left without an input.
    """
    if wiring not in WIRINGS:
        raise UsageError(f"--baseline_wiring {wiring}: use one of {', '.join(WIRINGS)}")
    genes = live_genes(chained_cell(cell) if wiring == "chain" else cell)
    order = dict.fromkeys(gene.to for gene in genes)
    nodes = list(order) if wiring == "published" else sorted(order)
    done = set(range(INPUTS))
    steps = []
    for node in nodes:
        inputs = sorted((g for g in genes if g.to == node and g.source in done), key=lambda gene: gene.source)
        if not inputs:
            raise DdartsError(f"node {node}: all its edges come from nodes that are not computed yet")
        steps.append((node, tuple(inputs)))
        done.add(node)
    return tuple(steps)


def built(cell: Cell, wiring: str = "increasing") -> Cell:
    """The genes that get weights: those that are used, or under `published` wiring all."""
    return cell if wiring == "published" else tuple(gene for _, inputs in plan(cell, wiring) for gene in inputs)


def wired(genotype: Genotype, wiring: str = "increasing") -> Genotype:
    """`genotype` with the genes that are used under `wiring`, for drawings. Raises as `plan` does."""
    if wiring == "increasing":
        return genotype
    cells = (tuple(gene for _, inputs in plan(cell, wiring) for gene in inputs) for cell in genotype.cells)
    return replace(genotype, cells=tuple(cells))
