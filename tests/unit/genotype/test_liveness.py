"""Which cells the output depends on, and the chain that depends on all of them."""

import pytest

from ddarts.genotype import zoo
from ddarts.genotype.liveness import chained, dead_cells_remark, dead_positions
from ddarts.genotype.schema import Gene, Genotype

DEAD = {
    "ResNet18": (0, 2),
    "ResNet50": (0, 2),
    "Xception": (1, 3, 5, 7, 9, 11),
    "InceptionV4": (0, 2, 4, 6, 8, 10, 12, 14),
}


def genotype(*reads: str) -> Genotype:
    """One cell for each text: the states that it reads."""
    cells = tuple(tuple(Gene("skip_connect", 2, int(state)) for state in read) for read in reads)
    return Genotype("made", "dartopti", 1, (2,), (), cells)


@pytest.mark.parametrize("name", DEAD)
def test_every_other_cell_of_a_published_baseline_is_dead_and_none_of_its_chain(name: str) -> None:
    baseline = zoo.baseline(name)
    assert dead_positions(baseline) == DEAD[name]
    chain = chained(baseline)
    assert dead_positions(chain) == () and dead_cells_remark(chain) is None
    assert "--baseline_wiring chain" in (dead_cells_remark(baseline) or "")
    moved = [(old, new) for old, new in zip(baseline.cells, chain.cells, strict=True)]
    for old, new in moved:
        assert [gene._replace(source=gene.source or 1) for gene in old] == list(new)


@pytest.mark.parametrize(
    ("reads", "dead"),
    [
        (("01", "01", "01"), ()),
        (("01", "01", "0"), (1,)),
        (("0", "0", "1"), (0,)),
        (("1", "1", "1"), ()),
        (("01", "0", "01", "0"), (0, 2)),  # cell 2 reads both, but nothing reads cell 2
        (("0",), ()),
    ],
)
def test_a_cell_lives_where_a_path_leads_on(reads: tuple[str, ...], dead: tuple[int, ...]) -> None:
    assert dead_positions(genotype(*reads)) == dead


def test_only_cells_that_do_not_read_the_previous_one_are_chained() -> None:
    assert chained(genotype("01", "0", "1")) == genotype("01", "1", "1")
