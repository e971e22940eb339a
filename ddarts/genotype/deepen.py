"""Deeper networks from few cells: which gene stands at every position of a network of L cells.

A network has three sections of normal cells, before, between and after its two reductions. The search of G cells
reduces at g1 = ⌊G/3⌋ and g2 = ⌊2G/3⌋, so these genes are the reductions; the deeper network has them at l1 = ⌊L/3⌋ and
l2 = ⌊2L/3⌋. (The published files of 8 cells name 2 and 6 as reductions, though 2 and 5 were searched; the shallow
network and `code` follow the file.)
"""

from dataclasses import replace

from ddarts.genotype.schema import MAX_CELLS, Genotype
from ddarts.runtime.errors import UsageError
from ddarts.space.primitives import DDARTS

DERIVATIONS = ("paper", "code", "cycle")


def deepen(genotype: Genotype, layers: int, derivation: str = "paper") -> Genotype:
    """`genotype` as a network of `layers` cells; its own number of layers gives it back as it is.

    derivation: `paper` moves the reductions with their genes and reproduces the article's networks; `code` takes the
    same genes and leaves the reductions at the positions of the genotype file, as the published program does; `cycle`
    walks every section from its own first gene, so that every gene is used. UsageError names what does not fit.
    """
    if derivation not in DERIVATIONS:
        raise UsageError(f"--derivation {derivation}: use one of {', '.join(DERIVATIONS)}")
    if layers == genotype.layers:
        return genotype
    _check(genotype, layers)
    genes = len(genotype.cells)
    order = tuple(_gene_at(i, genes, layers, derivation == "cycle") for i in range(layers))
    reductions = genotype.reductions if derivation == "code" else (layers // 3, 2 * layers // 3)
    return replace(genotype, sequence=order, reductions=reductions)


def _check(genotype: Genotype, layers: int) -> None:
    """UsageError where `genotype` cannot be made `layers` cells deep."""
    name, genes = genotype.name, len(genotype.cells)
    if layers < genotype.layers:
        raise UsageError(f"--layers {layers}: '{name}' has {genotype.layers} cells, and a network cannot have fewer")
    if layers > MAX_CELLS:
        raise UsageError(f"--layers {layers}: at most {MAX_CELLS} are allowed")
    if genotype.space != DDARTS.name:
        raise UsageError(
            f"--layers {layers}: '{name}' belongs to the space {genotype.space} and has {genotype.layers} cells; "
            f"only genotypes of the space {DDARTS.name} can be made deeper"
        )
    if genotype.sequence is not None:
        raise UsageError(
            f"--layers {layers}: '{name}' is {genotype.layers} cells deep already; "
            f"start from the genotype of its {genes} cells"
        )
    if len(genotype.reductions) != 2:
        raise UsageError(
            f"--layers {layers}: '{name}' has {len(genotype.reductions)} reductions; "
            f"only a genotype with exactly two can be made deeper"
        )
    empty = empty_section(genes)
    if empty:
        raise UsageError(f"--layers {layers}: '{name}' ({genes} cells) has no normal cell {empty} to repeat")


def empty_section(genes: int) -> str | None:
    """Which section of a genotype of `genes` cells has no normal cell, or None."""
    first, second = genes // 3, 2 * genes // 3
    if second - 1 - first < 1:
        return "between the reductions"
    if genes - 1 - second < 1:
        return "after the second reduction"
    if first < 1:
        return "before the first reduction"
    return None


def _gene_at(i: int, genes: int, layers: int, cycle: bool) -> int:
    """Index of the gene at position `i`."""
    g1, g2 = genes // 3, 2 * genes // 3
    l1, l2 = layers // 3, 2 * layers // 3
    if i < l1:
        return i % g1 if cycle else i % genes // 3
    if i == l1:
        return g1
    if i < l2:
        return (i - l1 - 1 if cycle else i) % (g2 - 1 - g1) + g1 + 1
    if i == l2:
        return g2
    return (i - l2 - 1 if cycle else i) % (genes - 1 - g2) + g2 + 1
