"""Distances between architectures: recorded values, and a plain calculation beside the fast one."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ddarts.genotype import zoo
from ddarts.genotype.distance import distance, expand, published_weights
from ddarts.genotype.schema import Gene, Genotype
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space.primitives import DARTOPTI
from ddarts.space.topology import edges

FILES = Path(__file__).parents[2] / "data_files"
RECORDED = json.loads((FILES / "distances.json").read_text())
# Rows of the published table whose genotypes were published: the baselines and some results of threshold_edge.
NAMES = {
    "ResNet18": "baseline_ResNet18",
    "ResNet50": "baseline_ResNet50",
    "ResNet18C10": "ResNet18_cifar10_threshold_edge_0.85",
    "ResNet50C100": "ResNet50_cifar100_threshold_edge_0.85",
}
REPRODUCED = {
    ("ResNet18", "ResNet18"),
    ("ResNet50", "ResNet50"),
    ("ResNet18C10", "ResNet18C10"),
    ("ResNet50C100", "ResNet50C100"),
    ("ResNet18", "ResNet50"),
    ("ResNet50", "ResNet18C10"),
    ("ResNet18C10", "ResNet50C100"),
}


def get(name):
    return zoo.resolve(name, buildable=False)


def plainly(a, b):
    """The definition, one row and one operation at a time."""
    weights = published_weights()
    total = sum(weights.values())

    def rows(genotype, cell):
        kept = {(gene.to, gene.source): set() for gene in cell}
        for gene in cell:
            kept[gene.to, gene.source].add(gene.op)
        return [kept.get(edge, set()) for edge in edges(genotype.steps)]

    def between(x, y):
        return sum(weights[op] for op in x ^ y) / total

    values = []
    for cell_a, cell_b in zip(a.cells, b.cells, strict=False):
        x, y = rows(a, cell_a), rows(b, cell_b)
        there = max(min(between(i, j) for j in y) for i in x)
        values.append(max(there, max(min(between(i, j) for i in x) for j in y)))
    return values


@pytest.mark.parametrize("pair", RECORDED)
def test_recorded_distances(pair):
    first, second = map(get, pair.split("|"))
    assert distance(first, second).distance == pytest.approx(RECORDED[pair], rel=0, abs=1e-15)
    assert distance(second, first) == distance(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("baseline_InceptionV4", "baseline_Xception"), ("DD-4", "baseline_ResNet50"), ("DD-cifar10", "DD-cifar100-edge")],
)
def test_against_the_definition(first, second):
    first, second = get(first), get(second)
    assert distance(first, second).cells == pytest.approx(plainly(first, second), rel=0, abs=1e-15)


def test_published_table():
    with open(FILES / "published_distances.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["arch1"], row["arch2"]) in REPRODUCED]
    assert len(rows) == len(REPRODUCED)
    for row in rows:
        found = distance(get(NAMES[row["arch1"]]), get(NAMES[row["arch2"]])).distance
        assert found == pytest.approx(float(row["distance"]), abs=5.01e-4), row


def test_strict_counts_cells_without_a_partner():
    short, long = get("baseline_ResNet18"), get("baseline_ResNet50")
    plain, strict = distance(short, long), distance(short, long, strict=True)
    assert len(plain.cells) == 1 and strict.cells == (*plain.cells, 1.0, 1.0)
    assert strict.distance == pytest.approx((plain.distance + 2) / 3)
    start = Genotype("start", long.space, long.steps, long.concat, (), long.cells[:2])
    assert distance(start, long).distance == 0 < distance(start, long, strict=True).distance
    assert distance(long, long, strict=True).distance == 0


def test_expansion():
    matrices = expand(get("baseline_ResNet50"))
    assert [matrix.shape for matrix in matrices] == [(27, 12)] * 3
    assert [int(matrix.sum()) for matrix in matrices] == [6, 8, 12]
    assert matrices[0][0].nonzero()[0].tolist() == [4, 11]
    assert all(matrix.dtype == np.bool_ for matrix in matrices)


def test_own_weights():
    a = Genotype("a", "ddarts", 1, (2,), (), ((Gene("skip_connect", 2, 0),),))
    b = Genotype("b", "ddarts", 1, (2,), (), ((Gene("max_pool_3x3", 2, 0),),))
    weights = dict.fromkeys(DARTOPTI.operations, 0) | {"skip_connect": 3, "sep_conv_3x3": 1}
    assert distance(a, b, weights=weights).distance == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"skip_connect": -1}, "skip_connect is -1"),
        ({"skip_connect": float("nan")}, "skip_connect is nan"),
        ({"skip_connect": "5"}, "skip_connect is 5"),
        (dict.fromkeys(DARTOPTI.operations, 0), "all are 0"),
    ],
)
def test_wrong_weights(change, part):
    with pytest.raises(UsageError) as caught:
        distance(get("DD-4"), get("DD-4"), weights={**published_weights(), **change})
    assert part in str(caught.value)
    with pytest.raises(UsageError, match="no weight for conv_3x1_1x3"):
        distance(get("DD-4"), get("DD-4"), weights={})


def test_an_operation_outside_the_twelve_is_named():
    other = Genotype("mine", "ddarts", 1, (2,), (), ((Gene("sep_conv_7x7", 2, 0),),))
    with pytest.raises(DdartsError, match="mine: cell 0: node 2: sep_conv_7x7 is not one of the 12"):
        expand(other)
