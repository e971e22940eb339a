"""The listing for terminals."""

from dataclasses import replace

import pytest

from ddarts.evaluate.text import WIDTH, as_text
from ddarts.genotype import zoo
from ddarts.genotype.schema import Gene, Genotype
from ddarts.runtime.errors import DdartsError
from ddarts.space.primitives import DARTOPTI
from ddarts.space.topology import edges

XCEPTION = """\
Xception
dartopti space · 4 nodes a cell · 13 cells (3 distinct) · reductions at 1, 2, 11, 12
cells in order, [reduction], dead†: 0 [0]† [0] 1† 1 1† 1 1† 1 1† 1 [0]† [2]

cell 0 · normal, reduction at 1, 2, 11 · nodes 2 3 4 · positions 0–2, 11, dead at 1, 11
  2 ← 0 sep_conv_3x3
  3 ← 2 sep_conv_3x3
  4 ← 0 simple_conv_1x1 | 3 max_pool_3x3
  5   missing

cell 1 · normal · nodes 2 3 4 · positions 3–10, dead at 3, 5, 7, 9
  2 ← 0 sep_conv_3x3
  3 ← 2 sep_conv_3x3
  4 ← 0 skip_connect | 3 sep_conv_3x3
  5   missing

cell 2 · reduction · nodes 2 3 · position 12
  2 ← 0 sep_conv_3x3
  3 ← 2 sep_conv_3x3
  4   missing
  5   missing

States 0 and 1 are the outputs of the two cells before, c_{k-2} and c_{k-1}.
A search network concatenates the last `multiplier` nodes (4 by default); the derived network drawn
  here concatenates every node that exists.
Dead (†) at 1, 3, 5, 7, 9, 11: no path leads from there to the output of the network
  (--baseline_wiring chain lets every cell read the previous one).
A missing node kept no operation: it does not exist, and no edge leaves it."""


def test_listing_of_a_baseline_is_exact() -> None:
    assert as_text(zoo.resolve("baseline_Xception")) == XCEPTION


def test_edges_stand_in_aligned_columns() -> None:
    listing = as_text(zoo.resolve("D-DARTS_threshold_edge_cifar10_0.85_50"), cells=[7])
    assert listing.splitlines()[3:8] == [
        "cell 7 · normal · nodes 2 3 4 5",
        "  2 ← 0 sep_conv_3x3, dil_conv_3x3 | 1 sep_conv_5x5",
        "  3 ← 0 sep_conv_5x5, dil_conv_5x5 | 2 sep_conv_5x5",
        "  4 ← 2 dil_conv_3x3               | 3 sep_conv_5x5, dil_conv_5x5",
        "  5 ← 2 sep_conv_3x3",
    ]


def test_no_line_is_wider_than_a_terminal_and_no_operation_is_lost() -> None:
    everything = tuple(Gene(op, to, source) for to, source in edges(12) for op in DARTOPTI.operations)
    crowded = Genotype("x" * 300, "dartopti", 12, tuple(range(2, 14)), (0,), (everything,), (0,) * 60)
    genotypes = [zoo.resolve(entry.name) for entry in zoo.entries() if not entry.problem]
    assert len(genotypes) > 15
    for genotype in [*genotypes, crowded]:
        assert max(map(len, as_text(genotype).splitlines())) <= WIDTH
    listing = as_text(crowded)
    assert all(listing.count(op) == len(edges(12)) for op in DARTOPTI.operations)


def test_networks_of_other_depth_than_four_nodes_say_how_the_search_differs() -> None:
    joined = " ".join(as_text(zoo.resolve("baseline_ResNet50")).split())
    assert "last `multiplier` nodes (4 by default, here 4–7)" in joined
    whole = zoo.resolve("D-DARTS_threshold_edge_cifar10_0.85_50")
    assert "missing" not in as_text(whole) and "multiplier" not in as_text(whole)


def test_a_missing_node_says_how_the_search_differs_too() -> None:
    holed = Genotype("holed", "ddarts", 4, (2, 3, 4, 5), (), ((Gene("skip_connect", 2, 0),),))
    joined = " ".join(as_text(holed).split())
    assert "last `multiplier` nodes (4 by default); the derived network drawn here concatenates every node" in joined


def test_a_genotype_that_cannot_be_built_is_refused_by_cell_and_node() -> None:
    starved = Genotype("odd", "ddarts", 2, (2, 3), (), ((Gene("skip_connect", 3, 2),),))
    with pytest.raises(DdartsError, match="odd: cell 0: node 3: all its edges come from nodes without operations"):
        as_text(starved)
    with pytest.raises(DdartsError, match="odd: cell 0: is empty"):
        as_text(replace(starved, cells=((),)))


def test_cells_that_are_equal_are_listed_once_by_the_first() -> None:
    cell = (Gene("skip_connect", 2, 0),)
    other = (Gene("skip_connect", 2, 1),)
    genotype = Genotype("twins", "ddarts", 1, (2,), (3,), (cell, other, cell, cell))
    assert "cell 0 · normal, reduction at 3 · nodes 2 · positions 0, 2, 3" in as_text(genotype)
    titles = [line for line in as_text(genotype).splitlines() if line.startswith("cell ")]
    assert [title[:6] for title in titles] == ["cell 0", "cell 1"]
    assert as_text(genotype, cells=[2]) == as_text(genotype, cells=[0])
