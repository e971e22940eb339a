"""Where things go in the drawing of a cell."""

from itertools import combinations

import pytest

from ddarts.evaluate.layout import assign_lanes, column, lane_offsets, place
from ddarts.evaluate.wiring import UsedCell, edges_of
from ddarts.genotype.schema import Gene
from ddarts.space.topology import edges


def full(steps: int) -> UsedCell:
    """Every edge with one operation, every second with two."""
    genes = [Gene("sep_conv_3x3", to, source) for to, source in edges(steps)]
    genes += [Gene("skip_connect", to, source) for to, source in edges(steps)[::2]]
    return UsedCell(0, tuple(genes), steps, (0,), ())


def bezier(a: float, b: float, c: float, d: float) -> list[float]:
    """21 points of a cubic curve in one coordinate."""
    steps = (i / 20 for i in range(21))
    return [a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t * t * (1 - t) + d * t**3 for t in steps]


@pytest.mark.parametrize("steps", [1, 2, 4, 6, 9])
def test_edges_that_pass_the_same_gap_have_lanes_of_their_own(steps: int) -> None:
    lanes = assign_lanes(edges_of(full(steps).cell))
    assert len(lanes) == len(edges(steps))
    for (a, b), (c, d) in combinations(lanes, 2):
        overlap = max(column(b), column(d)) < min(column(a), column(c))
        assert not overlap or lanes[a, b] != lanes[c, d]


def test_an_edge_runs_outside_the_shorter_edges_it_encloses() -> None:
    lanes = assign_lanes(edges_of(full(6).cell))
    for outer, inner in combinations(sorted(lanes, key=lambda edge: column(edge[1]) - column(edge[0])), 2):
        encloses = column(outer[1]) <= column(inner[1]) and column(inner[0]) <= column(outer[0])
        same_side = lanes[outer] * lanes[inner] > 0
        if encloses and same_side and column(outer[0]) - column(outer[1]) > column(inner[0]) - column(inner[1]):
            assert abs(lanes[outer]) > abs(lanes[inner])


def test_inputs_keep_to_their_side_and_neighbours_to_the_centre_line() -> None:
    lanes = assign_lanes(edges_of(full(4).cell))
    assert all(lane > 0 for (_, source), lane in lanes.items() if source == 0)
    assert all(lane < 0 for (_, source), lane in lanes.items() if source == 1)
    assert all(lanes[node + 1, node] == 0 for node in (2, 3, 4))


def test_lanes_are_as_far_apart_as_their_labels_are_high() -> None:
    edges_here = edges_of(tuple(Gene(op, node, 0) for node in (2, 3) for op in ("skip_connect", "sep_conv_3x3")))
    offsets = lane_offsets(edges_here, assign_lanes(edges_here))
    assert offsets[2] - offsets[1] > 2 * 10


def test_curves_begin_at_the_source_and_end_at_the_target_without_going_back() -> None:
    layout = place(full(6), 60.0, 30.0)
    for edge in layout.edges:
        xs = bezier(*(x for x, _ in edge.curve[:4])) + bezier(*(x for x, _ in edge.curve[4:]))
        assert layout.states[edge.source][0] < xs[0] < xs[-1] < layout.states[edge.to][0]
        assert xs == sorted(xs)
        assert edge.curve[3][0] < edge.label[0] - 30 and edge.label[0] + 30 < edge.curve[4][0]
        assert 0 < edge.label[1] < layout.height


def test_an_edge_from_a_missing_node_is_not_drawn_but_the_node_has_its_place() -> None:
    cell = UsedCell(
        0, (Gene("skip_connect", 2, 0), Gene("sep_conv_3x3", 4, 0), Gene("sep_conv_3x3", 4, 3)), 3, (0,), ()
    )
    layout = place(cell, 50.0, 30.0)
    assert [(edge.to, edge.source) for edge in layout.edges] == [(2, 0), (4, 0)]
    assert cell.missing == (3,) and layout.states[2][0] < layout.states[3][0] < layout.states[4][0]
