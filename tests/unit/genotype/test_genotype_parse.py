"""σ(α) to genes: the recorded cases, ties, the mask, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from ddarts.genotype.parse import METHODS, invalid_cells, keep_mask, parse
from ddarts.genotype.schema import Gene
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space import topology
from ddarts.space.primitives import DDARTS, space

FILES = Path(__file__).parents[2] / "data_files"
CASES = json.loads((FILES / "parse_cases.json").read_text())["cases"]
INPUTS = dict(np.load(FILES / "parse_inputs.npz", allow_pickle=False))


def arguments(case):
    return INPUTS[case["alphas"]], case["space"], case["steps"], case["parse_method"], case["op_threshold"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['alphas']}-{c['parse_method']}-{c['op_threshold']}")
def test_recorded_cases(case):
    cells = parse(*arguments(case))
    if case["parse_method"] == "darts":  # recorded as [operation, from], two a node in node order
        assert all([gene.to for gene in cell] == [2 + i // 2 for i in range(2 * case["steps"])] for cell in cells)
        found = [[[gene.op, gene.source] for gene in cell] for cell in cells]
    else:
        found = [[list(gene) for gene in cell] for cell in cells]
    assert found == case["cells"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['alphas']}-{c['parse_method']}-{c['op_threshold']}")
def test_the_mask_marks_exactly_the_genes(case):
    mask = keep_mask(*arguments(case))
    operations = space(case["space"]).operations
    marked = [
        {Gene(operations[k], *topology.edges(case["steps"])[edge]) for edge, k in np.argwhere(cell)} for cell in mask
    ]
    assert marked == [set(cell) for cell in parse(*arguments(case))]
    assert mask.dtype == bool and mask.shape == INPUTS[case["alphas"]].shape


def test_every_method_is_recorded():
    assert {case["parse_method"] for case in CASES} == set(METHODS)


def equal(value=0.9, steps=2):
    return np.full((1, topology.num_edges(steps), len(DDARTS)), value)


@pytest.mark.parametrize(
    ("method", "first_node"),
    [
        ("darts", [("max_pool_3x3", 0), ("max_pool_3x3", 1)]),
        ("threshold_sparse", [("max_pool_3x3", 0), ("max_pool_3x3", 1)]),
        ("threshold_edge", [(op, source) for source in (0, 1) for op in ("dil_conv_3x3", "dil_conv_5x5")]),
        ("threshold_complete", [(op, source) for source in (0, 1) for op in DDARTS.operations]),
    ],
)
def test_ties(method, first_node):
    (cell,) = parse(equal(), DDARTS, 2, method, 0.9)
    assert [(gene.op, gene.source) for gene in cell if gene.to == 2] == first_node


def test_the_two_best_edges_come_best_first_and_keep_their_order_on_ties():
    weights = equal(0.1)
    weights[0, topology.edge_index(3, 0), 3] = weights[0, topology.edge_index(3, 1), 4] = 0.5
    weights[0, topology.edge_index(3, 2), 5] = 0.7
    (cell,) = parse(weights, DDARTS, 2, "darts")
    assert [gene for gene in cell if gene.to == 3] == [("dil_conv_3x3", 3, 2), ("sep_conv_3x3", 3, 0)]


def test_threshold_edge_lists_the_weaker_operation_first():
    weights = equal(0.1)
    weights[0, 0, 1], weights[0, 0, 5], weights[0, 0, 2] = 0.99, 0.9, 0.86
    (cell,) = parse(weights, DDARTS, 2, "threshold_edge", 0.85)
    assert cell == (("dil_conv_3x3", 2, 0), ("avg_pool_3x3", 2, 0))


def test_the_threshold_itself_is_kept():
    assert keep_mask(equal(0.85), DDARTS, 2, "threshold_complete", 0.85).all()
    assert not keep_mask(np.nextafter(equal(0.85), 0), DDARTS, 2, "threshold_complete", 0.85).any()


def test_half_precision_weights_are_compared_exactly():
    weights = equal(0.85).astype(np.float32)
    assert keep_mask(weights, DDARTS, 2, "threshold_complete", float(np.float32(0.85))).all()
    assert not keep_mask(weights, DDARTS, 2, "threshold_complete", 0.8500001).any()


def test_invalid_cells_are_named():
    weights = np.concatenate([equal(0.9), equal(0.1), equal(0.1)])
    weights[2, topology.edge_index(3, 2), 0] = 0.9
    lines = invalid_cells(parse(weights, DDARTS, 2, "threshold_edge"), 2)
    assert lines == [
        "cell 1: is empty: at least one node needs an operation",
        "cell 2: node 3: all its edges come from nodes without operations",
    ]


def test_weights_are_left_alone():
    weights = equal()
    weights.flags.writeable = False
    before = weights.copy()
    parse(weights, DDARTS, 2, "threshold_edge")
    assert (weights == before).all()


@pytest.mark.parametrize(
    ("weights", "part"),
    [
        (equal().astype(int), "type int64"),
        (equal()[0], "shape (5, 7)"),
        (equal()[:, :4], "cells × 5 edges × 7 operations"),
        (equal()[:, :, :6], "shape (1, 5, 6)"),
        (equal()[:0], "shape (0, 5, 7)"),
        (np.where(np.arange(7) == 3, np.nan, equal()), "cell 0, edge 0, sep_conv_3x3 is nan"),
        (np.where(np.arange(7) == 3, np.inf, equal()), "infinite"),
        (np.where(np.arange(7) == 4, 1.5, equal()), "sep_conv_5x5 is 1.5, outside [0, 1]: values must be σ(α)"),
        (np.where(np.arange(7) == 4, -0.5, equal()), "-0.5, outside"),
    ],
)
def test_wrong_weights(weights, part):
    for function in (parse, keep_mask):
        with pytest.raises(DdartsError) as caught:
            function(weights, "ddarts", 2, where="file.npz")
        assert str(caught.value).startswith("file.npz: ") and part in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"method": "best"}, "--parse_method best: use one of darts, threshold_sparse"),
        ({"threshold": 1.5}, "--op_threshold 1.5: it must lie"),
        ({"threshold": -0.1}, "--op_threshold -0.1"),
        ({"threshold": float("nan")}, "--op_threshold nan"),
        ({"space": "nas"}, "unknown space 'nas'"),
    ],
)
def test_wrong_requests(changed, part):
    for function in (parse, keep_mask):
        with pytest.raises(UsageError) as caught:
            function(**{"weights": equal(), "space": DDARTS, "steps": 2, **changed})
        assert part in str(caught.value)
