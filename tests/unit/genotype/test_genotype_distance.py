"""Distances between architectures: recorded values, and a plain calculation beside the fast one."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ddarts.genotype import zoo
from ddarts.genotype.distance import distance, distances, expand
from ddarts.genotype.op_weights import published_weights, read_weights
from ddarts.genotype.schema import Gene, Genotype
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space.primitives import DARTOPTI
from ddarts.space.topology import edges

FILES = Path(__file__).parents[2] / "data_files"
RECORDED = json.loads((FILES / "distances.json").read_text())
DOCUMENTED = Path(__file__).parents[3] / "docs" / "distance.md"
METHODS = ("edge", "sparse")


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
    assert distance(first, second).distance == RECORDED[pair]
    assert distance(second, first) == distance(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("baseline_InceptionV4", "baseline_Xception"), ("DD-4", "baseline_ResNet50"), ("DD-cifar10", "DD-cifar100-edge")],
)
def test_against_the_definition(first, second):
    first, second = get(first), get(second)
    assert distance(first, second).cells == pytest.approx(plainly(first, second), rel=0, abs=1e-15)


def files_of(name):
    """The published genotypes that a name of the published table may mean, by parse method."""
    start, _, dataset = name.partition("C")
    names = {method: f"{start}_cifar{dataset}_threshold_{method}_0.85" for method in METHODS}
    return {method: get(names[method] if dataset else f"baseline_{start}") for method in METHODS}


def test_the_documented_table_says_which_published_rows_are_reproduced():
    with open(FILES / "published_distances.csv", newline="") as file:
        published = {(row["arch1"], row["arch2"]): row["distance"] for row in csv.DictReader(file)}
    lines = [line for line in DOCUMENTED.read_text(encoding="utf-8").splitlines() if " – " in line and "|" in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    pairs = [tuple(row[0].split(" – ")) for row in rows]
    assert {pair for pair in published if pair[0] != pair[1]} == {*pairs, *(pair[::-1] for pair in pairs)}
    assert all(float(value) == 0 for (a, b), value in published.items() if a == b)
    for (a, b), (_, said, edge, sparse, reproduced) in zip(pairs, rows, strict=True):
        assert said == published[a, b] == published[b, a]
        first, second = files_of(a), files_of(b)
        found = {(i, j): distance(first[i], second[j]).distance for i in METHODS for j in METHODS}
        assert [edge, sparse] == [f"{found[method, method]:.4f}" for method in METHODS]
        agrees = {key for key, value in found.items() if abs(value - float(said)) <= 5.01e-4}
        assert reproduced == ("yes" if agrees else "no") and (not agrees or ("edge", "edge") in agrees)
    assert [row[-1] for row in rows].count("yes") == 3


def test_every_pair_of_many():
    genotypes = [get(name) for name in ("baseline_ResNet18", "DD-4", "baseline_ResNet50")]
    for strict in (False, True):
        expected = [[distance(a, b, strict).distance for b in genotypes] for a in genotypes]
        assert distances(genotypes, strict) == expected


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


def test_weights_of_a_file(tmp_path):
    path, own = tmp_path / "weights.json", dict.fromkeys(DARTOPTI.operations, 1) | {"skip_connect": 2.5}
    for content in (own, {"subject": "ops", "weights": own, "trainings": []}):
        path.write_text(json.dumps(content))
        assert read_weights(path) == own


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "cannot be read (No such file"),
        ("", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        ("[1]", "an object of operation: number is expected"),
        ('{"weights": 3}', "an object of operation: number is expected"),
        ('{"subject": "ops"}', "has no weights yet; finish it with ddarts bench ops"),
        ("{}", "no weight for conv_3x1_1x3"),
        (json.dumps({**published_weights(), "conv_9x9": 1}), "conv_9x9 is not one of the 12 operations"),
        (json.dumps({**published_weights(), "skip_connect": None}), "skip_connect is None: a number of at least 0"),
        (json.dumps({**published_weights(), "skip_connect": float("inf")}), "skip_connect is inf"),
        (" " * (5 << 20), "is larger than 4 MiB"),
    ],
)
def test_a_file_without_weights_is_named(tmp_path, content, part):
    path = tmp_path / "weights.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"--op_weights {path}: {part}") and "\n" not in str(caught.value)


def test_an_operation_outside_the_twelve_is_named():
    other = Genotype("mine", "ddarts", 1, (2,), (), ((Gene("sep_conv_7x7", 2, 0),),))
    with pytest.raises(DdartsError, match="mine: cell 0: node 2: sep_conv_7x7 is not one of the 12"):
        expand(other)
