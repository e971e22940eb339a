"""The distance to the baseline while a search goes on, and when it has settled."""

import pytest
import torch

from ddarts.genotype import zoo
from ddarts.genotype.distance import distance
from ddarts.search.departure import Departure
from ddarts.search.discretise import ParseRule
from ddarts.search.layout import Layout
from ddarts.space.primitives import DARTOPTI

RESNET = zoo.baseline("ResNet18")
LAYOUT = Layout(DARTOPTI, 4, 4, RESNET.reductions, RESNET.sequence, RESNET)


def departure(baseline=RESNET, first=3):
    return Departure(ParseRule(LAYOUT, "threshold_sparse", 0.85), baseline, first)


def test_the_threshold_edge_parse_is_compared_from_the_first_epoch_on():
    found, mixing = departure(), torch.sigmoid(LAYOUT.start())
    for epoch in range(3):
        found.observe(epoch, mixing)
    assert found.distances == []
    found.observe(3, mixing)
    mixing[0, 1, [0, 3, 5]] = torch.tensor([0.87, 0.9, 0.95])  # threshold_edge keeps the two best of them
    found.observe(4, mixing)
    genotype = ParseRule(LAYOUT, "threshold_edge", 0.85).parsed(mixing, "x")
    assert len(genotype.cells[0]) == len(RESNET.cells[0]) + 2
    assert found.distances == [0.0, distance(RESNET, genotype).distance] and found.distances[1] > 0


def test_a_cell_without_operations_can_be_compared():
    found = departure(first=0)
    found.observe(0, torch.zeros_like(LAYOUT.start()))
    assert 0 < found.distances[0] <= 1


def test_without_a_baseline_nothing_is_measured():
    found = departure(baseline=None, first=0)
    found.observe(5, torch.sigmoid(LAYOUT.start()))
    assert found.distances == [] and not found.settled


@pytest.mark.parametrize(
    ("distances", "settled"),
    [
        ([], False),
        ([0.2] * 4, False),
        ([0.2] * 5, True),
        ([0.5, 0.2, 0.2, 0.2, 0.2, 0.2], True),
        ([0.2, 0.2, 0.2009, 0.2, 0.2005], True),
        ([0.2, 0.2, 0.2, 0.2, 0.2011], False),
        ([0.2011, 0.2, 0.2, 0.2, 0.2], False),
        ([0.0] * 8, False),
        ([0.0005, 0.0005, 0.0005, 0.0005, 0.0], False),
        ([0.0, 0.0, 0.0, 0.0, 0.0005], True),
    ],
)
def test_a_search_has_settled_when_five_distances_agree_and_it_has_moved(distances, settled):
    found = departure()
    found.distances = distances
    assert found.settled is settled
