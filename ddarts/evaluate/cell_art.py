"""Draws the plan of one cell on a canvas: rails, edges, labels, nodes, in that order."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from ddarts.evaluate.canvas import Canvas, text_width
from ddarts.evaluate.layout import (
    ARROW,
    INPUT_HEIGHT,
    INPUT_WIDTH,
    NODE_RADIUS,
    PILL_HEIGHT,
    CellLayout,
    EdgeShape,
    Point,
    label_width,
    place,
    slope_width,
)
from ddarts.evaluate.style import GHOST, INK, MUTED, RAIL, REDUCTION, STATE, family
from ddarts.evaluate.wiring import UsedCell

LABEL_SIZE = 7.0
STRAND_GAP = 1.7
STRAND_WEIGHT = 1.15
INPUT_NAMES = ("$c_{k-2}$", "$c_{k-1}$")


def plan(cells: Sequence[UsedCell]) -> tuple[CellLayout, ...]:
    """Lay out `cells` with one label width and slope, so that their columns stand alike on a sheet."""
    width, slope = label_width(cells, partial(text_width, size=LABEL_SIZE)), slope_width(cells)
    return tuple(place(cell, width, slope) for cell in cells)


def paint(canvas: Canvas, origin: Point, cell: UsedCell, layout: CellLayout) -> None:
    """Draw `cell` with the lower left corner of its plan at `origin`."""
    _paint_output(canvas, origin, cell, layout)
    for edge in layout.edges:
        _paint_edge(canvas, origin, cell.index, edge, layout.label_width)
    sources = {edge.source for edge in layout.edges}
    for state, (x, y) in layout.states.items():
        centre = (origin[0] + x, origin[1] + y)
        if state < len(INPUT_NAMES):
            _paint_input(canvas, centre, layout.input_heights[state], cell, state, state in sources)
        else:
            _paint_node(canvas, centre, state, state in cell.kept)


def strands(curve: Sequence[Point], shift: float) -> tuple[Point, ...]:
    """The curve moved sideways by `shift`, so that several operations run side by side like tracks.

    Every control point moves to where the shifted sides of the control polygon meet (Tiller and Hanson's offset).
    """
    normals = []
    for (x0, y0), (x1, y1) in pairwise(curve):
        length = math.hypot(x1 - x0, y1 - y0)
        normals.append(((y0 - y1) / length, (x1 - x0) / length) if length else None)
    moved = []
    for index, (x, y) in enumerate(curve):
        before = next((n for n in reversed(normals[:index]) if n), None)
        after = next((n for n in normals[index:] if n), None)
        a, b = before or after or (0.0, 1.0), after or before or (0.0, 1.0)
        scale = shift / max(1 + a[0] * b[0] + a[1] * b[1], 0.5)
        moved.append((x + scale * (a[0] + b[0]), y + scale * (a[1] + b[1])))
    return tuple(moved)


def _paint_edge(canvas: Canvas, origin: Point, cell: int, edge: EdgeShape, label_width: float) -> None:
    curve = tuple((origin[0] + x, origin[1] + y) for x, y in edge.curve)
    count = len(edge.operations)
    name = f"cell-{cell}-edge-{edge.to}-{edge.source}"
    for row, operation in enumerate(edge.operations):
        shift = ((count - 1) / 2 - row) * STRAND_GAP
        look = family(operation)
        canvas.path(
            strands(curve, shift),
            "MCCCLCCC",
            colour=look.line,
            weight=STRAND_WEIGHT,
            dash=look.dash,
            layer=3,
            gid=f"{name}-line-{operation}",
        )
        middle = origin[1] + edge.label[1] + ((count - 1) / 2 - row) * PILL_HEIGHT
        left = origin[0] + edge.label[0] - label_width / 2
        canvas.box(
            (left, middle - PILL_HEIGHT / 2 + 0.5),
            (label_width, PILL_HEIGHT - 1.0),
            fill=look.fill,
            line=look.line,
            radius=2.6,
            weight=0.5,
            layer=5,
        )
        canvas.text(
            (left + label_width / 2, middle), operation, size=LABEL_SIZE, align="center", gid=f"{name}-op-{operation}"
        )
    looks = {family(operation).line for operation in edge.operations}
    _arrow(canvas, curve[-2], curve[-1], looks.pop() if len(looks) == 1 else MUTED, 1.5 + 0.45 * (count - 1))


def _arrow(canvas: Canvas, before: Point, base: Point, colour: str, half: float) -> None:
    """A head whose base is at the end of the line and whose tip touches the node."""
    dx, dy = base[0] - before[0], base[1] - before[1]
    length = math.hypot(dx, dy) or 1.0
    ux, uy = dx / length, dy / length
    half = min(half, 2.6)
    tip = (base[0] + (ARROW - 0.6) * ux, base[1] + (ARROW - 0.6) * uy)
    back = (base[0] - 0.4 * ux, base[1] - 0.4 * uy)
    corners = [(back[0] - half * uy, back[1] + half * ux), tip, (back[0] + half * uy, back[1] - half * ux)]
    canvas.polygon(corners, fill=colour)


def _paint_input(canvas: Canvas, centre: Point, height: float, cell: UsedCell, state: int, used: bool) -> None:
    corner = (centre[0] - INPUT_WIDTH / 2, centre[1] - height / 2)
    colour = INK if used else GHOST
    dash = None if used else (1.5, 1.5)
    fill = STATE if used else "white"
    canvas.box(corner, (INPUT_WIDTH, height), fill=fill, line=colour, radius=4, weight=0.9, dash=dash, layer=5)
    canvas.text(centre, INPUT_NAMES[state], size=9, align="center", colour=colour)
    if cell.reduction and used:
        # A cell that does both says so in its title, with the positions.
        words = "stride 1 or 2" if cell.normal else "stride 2"
        canvas.text((centre[0], corner[1] - 6), words, size=6.2, colour=REDUCTION, bold=True, align="center")


def _paint_node(canvas: Canvas, centre: Point, node: int, exists: bool) -> None:
    if exists:
        canvas.circle(centre, NODE_RADIUS, fill="white", line=INK)
    else:
        canvas.circle(centre, NODE_RADIUS, fill="white", line=GHOST, dash=(1.2, 1.4))
    canvas.text(centre, str(node), size=8.5, align="center", bold=exists, colour=INK if exists else GHOST)


def _paint_output(canvas: Canvas, origin: Point, cell: UsedCell, layout: CellLayout) -> None:
    """The concatenation: every node drops onto a rail that leads to the output."""
    rail, bend = origin[1] + layout.rail, 7.0
    out = (origin[0] + layout.output[0], origin[1] + layout.output[1])
    last = origin[0] + max(x for x, _ in layout.states.values()) + NODE_RADIUS + 2
    for node in cell.kept:
        x, y = origin[0] + layout.states[node][0], origin[1] + layout.states[node][1]
        points = [(x, y - NODE_RADIUS), (x, rail + bend), (x, rail), (x, rail), (x + bend, rail), (last, rail)]
        canvas.path(points, "MLCCCL", colour=RAIL, weight=1.3, layer=1)
    foot = (out[0], out[1] - INPUT_HEIGHT / 2 - ARROW)
    points = [(last, rail), (foot[0] - bend, rail), (foot[0], rail), (foot[0], rail), (foot[0], rail + bend), foot]
    canvas.path(points, "MLCCCL", colour=RAIL, weight=1.3, layer=1)
    _arrow(canvas, (foot[0], foot[1] - 1), foot, RAIL, 2.2)
    canvas.text(((last + foot[0] - bend) / 2, rail + 6), "concat", size=6.6, colour=MUTED, align="center")
    corner = (out[0] - INPUT_WIDTH / 2, out[1] - INPUT_HEIGHT / 2)
    canvas.box(corner, (INPUT_WIDTH, INPUT_HEIGHT), fill=STATE, line=INK, radius=4, weight=0.9, layer=5)
    canvas.text(out, "$c_k$", size=9, align="center")
    width = f"{len(cell.kept)}·C"
    canvas.text((out[0], out[1] + INPUT_HEIGHT / 2 + 6), width, size=6.6, colour=MUTED, align="center")
