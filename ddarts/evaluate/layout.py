"""Where everything in the drawing of one cell goes, in points (1/72 inch), origin at the lower left.

Nodes stand on a centre line, in order, one a column; c_{k-2} fans out above it and c_{k-1} below. Every edge rises
from its source to a lane of its own, runs level, and falls into its target. Its label sits on the lane in the gap
just left of the target, so that all inputs of a node are read in one column. Two edges that pass the same gap never
share a lane, lanes are as high as their labels, and edges rise and fall only beside the nodes: labels can therefore
neither overlap nor be crossed, however many edges a cell has.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ddarts.evaluate.wiring import Edges, UsedCell, edges_of
from ddarts.space.topology import INPUTS

Point = tuple[float, float]

NODE_RADIUS = 9.5
INPUT_WIDTH = 30.0
INPUT_HEIGHT = 17.0
PORT_GAP = 3.6
PILL_HEIGHT = 10.0
PILL_PADDING = 4.0
LANE_GAP = 4.5
ARROW = 4.6
STUB = 4.0  # level stretch on both sides of a label


@dataclass(frozen=True)
class EdgeShape:
    """One edge. `curve` holds the control points of two cubic Béziers joined by a straight line: 4 + 4 points."""

    source: int
    to: int
    operations: tuple[str, ...]
    lane: int
    curve: tuple[Point, ...]
    label: Point


@dataclass(frozen=True)
class CellLayout:
    """The finished plan of a cell. `states` maps 0, 1 and every node (missing ones too) to its centre;
    `input_heights` are the heights of the boxes of states 0 and 1."""

    width: float
    height: float
    states: dict[int, Point]
    input_heights: tuple[float, float]
    edges: tuple[EdgeShape, ...]
    label_width: float
    rail: float
    output: Point


def label_width(cells: Iterable[UsedCell], measure: Callable[[str], float]) -> float:
    """Width of the labels of `cells`: that of the longest operation name, as `measure` gives it in points."""
    names = {name for cell in cells for names in edges_of(cell.cell).values() for name in names}
    return max(measure(name) for name in names) + 2 * PILL_PADDING


def slope_width(cells: Iterable[UsedCell]) -> float:
    """Distance from a node's centre in which edges rise or fall: wider where `cells` have more lanes."""
    deepest = max(abs(lane) for cell in cells for lane in assign_lanes(edges_of(cell.cell)).values())
    return NODE_RADIUS + min(30.0, 13.0 + 1.6 * deepest)


def place(cell: UsedCell, width: float, slope: float) -> CellLayout:
    """Lay out `cell` with labels `width` points wide and edges that rise and fall within `slope` of a node's centre."""
    edges = edges_of(cell.cell)
    lanes = assign_lanes(edges)
    offsets = lane_offsets(edges, lanes)
    centre = -min(offsets.values()) + _lane_height(edges, lanes, min(lanes.values())) / 2 + 22.0
    top = centre + max(offsets.values()) + _lane_height(edges, lanes, max(lanes.values())) / 2
    counts = [sum(source == state for _, source in edges) for state in range(INPUTS)]
    heights = (max(INPUT_HEIGHT, PORT_GAP * counts[0] + 5), max(INPUT_HEIGHT, PORT_GAP * counts[1] + 5))
    states = _centres(cell.steps, lanes, offsets, centre, width + 2 * (slope + STUB))
    shapes = _shapes(edges, lanes, offsets, states, slope, width)
    output = (states[cell.steps + 1][0] + NODE_RADIUS + 34.0 + INPUT_WIDTH / 2, centre)
    top = max(top, states[0][1] + heights[0] / 2, output[1] + INPUT_HEIGHT / 2 + 10)
    return CellLayout(output[0] + INPUT_WIDTH / 2, top, states, heights, shapes, width, 8.0, output)


def _centres(
    steps: int, lanes: dict[tuple[int, int], int], offsets: dict[int, float], centre: float, pitch: float
) -> dict[int, Point]:
    """Nodes on the centre line; an input halfway between its outermost lanes, or beside the line if it feeds none."""
    states = {}
    for state, side in ((0, 1), (1, -1)):
        mine = [offsets[lane] for edge, lane in lanes.items() if edge[1] == state]
        offset = (min(mine) + max(mine)) / 2 if mine else side * max(16.0, abs(offsets.get(side, 16.0)))
        states[state] = (INPUT_WIDTH / 2, centre + offset)
    for node in range(INPUTS, steps + INPUTS):
        states[node] = (INPUT_WIDTH - NODE_RADIUS + (node - 1) * pitch, centre)
    return states


def column(state: int) -> int:
    """Column of a state: both inputs share the first."""
    return max(state - 1, 0)


def assign_lanes(edges: Edges) -> dict[tuple[int, int], int]:
    """A lane for every edge: 0 between neighbouring nodes, positive above, negative below the centre line.

    Short edges are placed first, each on the innermost free lane, so that an edge never runs inside a shorter one
    it encloses. Edges of c_{k-2} stay above, those of c_{k-1} below; the others take the emptier side.
    """
    taken: dict[int, list[tuple[int, int]]] = {}
    lanes: dict[tuple[int, int], int] = {}

    def innermost(side: int, start: int, end: int) -> int:
        lane = side
        while any(start < b and a < end for a, b in taken.get(lane, ())):
            lane += side
        return lane

    def span(edge: tuple[int, int]) -> tuple[int, int, int]:
        return column(edge[0]) - column(edge[1]), edge[1], edge[0]

    for edge in sorted(edges, key=span):
        to, source = edge
        start, end = column(source), column(to)
        if source >= INPUTS and end - start == 1:
            lane = 0
        elif source < INPUTS:
            lane = innermost(1 if source == 0 else -1, start, end)
        else:
            lane = min((innermost(side, start, end) for side in (1, -1)), key=lambda lane: (abs(lane), -lane))
        taken.setdefault(lane, []).append((start, end))
        lanes[edge] = lane
    return lanes


def lane_offsets(edges: Edges, lanes: dict[tuple[int, int], int]) -> dict[int, float]:
    """Height of every lane in use above the centre line (negative: below it)."""
    offsets = {0: 0.0}
    centre = max(NODE_RADIUS + 3.0, _lane_height(edges, lanes, 0) / 2)
    for side in (1, -1):
        edge = centre
        for distance in range(1, max((side * lane for lane in lanes.values()), default=0) + 1):
            size = _lane_height(edges, lanes, side * distance)
            offsets[side * distance] = side * (edge + size / 2)
            edge += size
    return offsets


def _lane_height(edges: Edges, lanes: dict[tuple[int, int], int], lane: int) -> float:
    lines = max((len(edges[edge]) for edge, used in lanes.items() if used == lane), default=0)
    return lines * PILL_HEIGHT + LANE_GAP


def _shapes(
    edges: Edges,
    lanes: dict[tuple[int, int], int],
    offsets: dict[int, float],
    states: dict[int, Point],
    slope: float,
    width: float,
) -> tuple[EdgeShape, ...]:
    centre = states[INPUTS][1]
    leaving = {state: _ports(state, [e for e in edges if e[1] == state], lanes, states, 1) for state in states}
    entering = {state: _ports(state, [e for e in edges if e[0] == state], lanes, states, -1) for state in states}
    shapes = []
    for edge, operations in edges.items():
        to, source = edge
        level = centre + offsets[lanes[edge]]
        # An input is wider than a node: the rise beside it ends at the same distance from its rim.
        begin = (states[source][0] + slope + (INPUT_WIDTH / 2 - NODE_RADIUS if source < INPUTS else 0), level)
        end = (states[to][0] - slope, level)
        first, then = leaving[source][edge], entering[to][edge]
        curve = (*_bend(*first, begin, 1), *reversed(_bend(*then, end, -1)))
        label = (states[to][0] - slope - STUB - width / 2, level)
        shapes.append(EdgeShape(source, to, operations, lanes[edge], curve, label))
    return tuple(shapes)


def _ports(
    state: int,
    mine: list[tuple[int, int]],
    lanes: dict[tuple[int, int], int],
    states: dict[int, Point],
    direction: int,
) -> dict[tuple[int, int], tuple[Point, Point]]:
    """Where edges touch a state, with the outward direction there; `direction` is 1 on its right side, -1 on its left.

    Around a node, edges from above spread over the upper quarter of the rim and edges from below over the lower.
    """
    x, y = states[state]
    ports = {}
    if state < INPUTS:
        ordered = sorted(mine, key=lambda edge: lanes[edge])
        for rank, edge in enumerate(ordered):
            shift = (rank - (len(ordered) - 1) / 2) * PORT_GAP
            ports[edge] = ((x + INPUT_WIDTH / 2, y + shift), (1.0, 0.0))
        return ports
    radius = NODE_RADIUS + (ARROW if direction < 0 else 0.0)
    for side in (1, 0, -1):
        group = sorted((e for e in mine if (lanes[e] > 0) - (lanes[e] < 0) == side), key=lambda e: abs(lanes[e]))
        for rank, edge in enumerate(group):
            share = (rank + 0.5) / len(group)
            angle = side * math.radians(22 + 50 * share)
            outward = (direction * math.cos(angle), math.sin(angle))
            ports[edge] = ((x + radius * outward[0], y + radius * outward[1]), outward)
    return ports


def _bend(port: Point, outward: Point, level: Point, direction: int) -> tuple[Point, Point, Point, Point]:
    """Control points from a rim, leaving it along `outward`, to the level stretch at `level`."""
    across, up = abs(level[0] - port[0]), abs(level[1] - port[1])
    reach = min(0.42 * up, 2.2 * across) + 0.16 * across
    back = 0.75 * across
    return (
        port,
        (port[0] + outward[0] * reach * (across / (across + up) + 0.25), port[1] + outward[1] * reach),
        (level[0] - direction * back, level[1]),
        level,
    )
