"""Deeper networks: the recorded table, the article's DD-4, and every error."""

import dataclasses
import json
from pathlib import Path

import pytest

from ddarts.genotype import files, zoo
from ddarts.genotype.deepen import deepen
from ddarts.runtime.errors import UsageError

TABLE = json.loads((Path(__file__).parents[2] / "data_files" / "derivation_G8.json").read_text())
DD = "D-DARTS_threshold_edge_abl0.5_fair7_cifar100_0.85_50"


def of_cells(count, reductions=None):
    """A genotype of `count` cells, told apart by nothing but their position."""
    genotype = zoo.resolve(DD)
    reductions = (count // 3, 2 * count // 3) if reductions is None else reductions
    return dataclasses.replace(genotype, cells=(genotype.cells[0],) * count, reductions=reductions)


@pytest.mark.parametrize("layers", TABLE)
def test_recorded_table(layers):
    genotype, row, layers = zoo.resolve(DD), TABLE[layers], int(layers)
    paper, code, cycle = (deepen(genotype, layers, derivation) for derivation in ("paper", "code", "cycle"))
    assert list(paper.sequence) == list(code.sequence) == row["paper"]
    assert list(cycle.sequence) == row["cycle"]
    assert list(paper.reductions) == list(cycle.reductions) == row["reductions_paper"]
    assert code.reductions == genotype.reductions == (2, 6)
    for deeper in (paper, code, cycle):
        assert (deeper.layers, deeper.name, deeper.cells) == (layers, genotype.name, genotype.cells)
        assert [deeper.position(i) for i in range(layers)] == [genotype.cells[g] for g in deeper.sequence]
        assert files.from_dict(files.to_dict(deeper), "deeper") == deeper


def test_the_default_is_the_papers():
    assert deepen(zoo.resolve(DD), 14) == deepen(zoo.resolve(DD), 14, "paper")


def test_the_article_s_deep_network():
    named = zoo.resolve("DD-4")
    assert dataclasses.replace(named, name=DD) == deepen(zoo.resolve(DD), 14, "paper")
    assert (named.layers, named.reductions) == (14, (4, 9))
    assert deepen(named, 14) is named


@pytest.mark.parametrize("name", ["baseline_Xception", "ResNet50_cifar10_threshold_sparse_0.85", DD])
def test_its_own_number_of_layers_changes_nothing(name):
    genotype = zoo.resolve(name)
    for derivation in ("paper", "code", "cycle"):
        assert deepen(genotype, genotype.layers, derivation) is genotype


@pytest.mark.parametrize("cells", range(5, 21))
@pytest.mark.parametrize("derivation", ["paper", "cycle"])
def test_reduction_genes_stand_at_the_reductions(cells, derivation):
    for layers in range(cells + 1, 40):
        deeper = deepen(of_cells(cells), layers, derivation)
        assert [deeper.sequence[i] for i in deeper.reductions] == [cells // 3, 2 * cells // 3]


@pytest.mark.parametrize("cells", range(5, 21))
def test_cycle_uses_every_gene_once_each_section_is_long_enough(cells):
    deeper = deepen(of_cells(cells), 3 * cells, "cycle")
    assert set(deeper.sequence) == set(range(cells))


@pytest.mark.parametrize(
    ("genotype", "layers", "derivation", "part"),
    [
        (of_cells(8), 7, "paper", "--layers 7: 'D-DARTS_threshold_edge_abl0.5_fair7_cifar100_0.85_50' has 8 cells"),
        (of_cells(8), 0, "paper", "--layers 0"),
        (of_cells(8), 1001, "paper", "at most 1000"),
        (of_cells(8), 14, "article", "--derivation article: use one of paper, code, cycle"),
        (of_cells(8), 8, "article", "--derivation article"),
        (of_cells(8, (2,)), 14, "paper", "has 1 reductions"),
        (of_cells(8, (1, 2, 6)), 14, "code", "has 3 reductions"),
        (of_cells(8, ()), 14, "cycle", "has 0 reductions"),
        (of_cells(3), 14, "paper", "(3 cells) has no normal cell between the reductions"),
        (of_cells(4), 14, "cycle", "(4 cells) has no normal cell between the reductions"),
        (of_cells(2), 14, "paper", "(2 cells) has no normal cell between the reductions"),
        (zoo.resolve("baseline_ResNet18"), 8, "paper", "belongs to the space dartopti and has 4 cells"),
        (zoo.resolve("Xception_cifar10_threshold_edge_0.85"), 20, "code", "space dartopti"),
        (zoo.resolve("baseline_ResNet18"), 3, "paper", "has 4 cells"),
        (zoo.resolve("DD-4"), 20, "paper", "is 14 cells deep already; start from the genotype of its 8 cells"),
    ],
)
def test_errors(genotype, layers, derivation, part):
    with pytest.raises(UsageError) as caught:
        deepen(genotype, layers, derivation)
    assert part in str(caught.value) and "\n" not in str(caught.value)
