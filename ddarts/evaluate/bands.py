"""The two bands above the cells: what the colours mean, and the whole network as a strip of its positions."""

import math
from collections.abc import Sequence

from ddarts.evaluate.canvas import Canvas, text_width
from ddarts.evaluate.layout import Point
from ddarts.evaluate.style import FAMILIES, HAIRLINE, MUTED, REDUCTION, cell_tint, family
from ddarts.evaluate.wiring import UsedCell, cell_order, edges_of
from ddarts.genotype.liveness import dead_positions
from ddarts.genotype.schema import Genotype

BOX = (25.0, 17.0)
BOX_GAP = 7.0
END = 36.0
STRIP_ROW = 36.0
LEGEND_ROW = 15.0
LEGEND_SAMPLE = 36.0


def legend_rows(cells: Sequence[UsedCell], width: float) -> list[list[tuple[str, float]]]:
    """Names of the families in the drawing with their offset, broken into rows."""
    present = {family(op) for cell in cells for operations in edges_of(cell.cell).values() for op in operations}
    rows: list[list[tuple[str, float]]] = [[]]
    x = 0.0
    for name in (found.name for found in FAMILIES if found in present):
        step = LEGEND_SAMPLE + 6 + text_width(name, 8.2) + 16
        if rows[-1] and x + step > width:
            rows.append([])
            x = 0.0
        rows[-1].append((name, x))
        x += step
    return rows


def paint_legend(canvas: Canvas, rows: list[list[tuple[str, float]]], corner: Point) -> None:
    """Draw the rows with their upper left corner at `corner`."""
    looks = {found.name: found for found in FAMILIES}
    for number, row in enumerate(rows):
        y = corner[1] - 4 - LEGEND_ROW * number
        for name, x in row:
            look = looks[name]
            left = corner[0] + x
            canvas.path([(left, y), (left + LEGEND_SAMPLE, y)], "ML", colour=look.line, weight=1.6, dash=look.dash)
            canvas.box(
                (left + LEGEND_SAMPLE / 2 - 5, y - 4),
                (10, 8),
                fill=look.fill,
                line=look.line,
                radius=2.4,
                weight=0.6,
                layer=5,
            )
            canvas.text((left + LEGEND_SAMPLE + 6, y), name, size=8.2)


def _per_row(width: float) -> int:
    return max(1, int((width - 2 * (END + BOX_GAP)) // (BOX[0] + BOX_GAP)))


def strip_width(genotype: Genotype) -> float:
    """Width of the strip in points when all positions stand in one row."""
    return 2 * (END + BOX_GAP) + genotype.layers * (BOX[0] + BOX_GAP) - BOX_GAP


def strip_height(genotype: Genotype, width: float) -> float:
    """Height of the strip in points when it may be `width` wide."""
    return math.ceil(genotype.layers / _per_row(width)) * STRIP_ROW


def paint_strip(canvas: Canvas, genotype: Genotype, corner: Point, width: float) -> None:
    """The network from stem to classifier, upper left at `corner`; reductions narrow towards their output, and cells
    that the output does not depend on are white."""
    order, per_row, dead = cell_order(genotype), _per_row(width), dead_positions(genotype)
    for position, index in enumerate(order):
        row, place = divmod(position, per_row)
        x = corner[0] + END + BOX_GAP + place * (BOX[0] + BOX_GAP)
        y = corner[1] - BOX[1] / 2 - row * STRIP_ROW
        if position == 0:
            _end(canvas, corner[0], y, "stem")
        _link(canvas, x - BOX_GAP, y)
        reduces = position in genotype.reductions
        lives = position not in dead
        tint = cell_tint(index, len(genotype.cells)) if lives else "white"
        _position(canvas, (x, y), str(index) if lives else f"{index}†", tint, reduces)
        if reduces or position == 0:
            factor = 2 ** sum(reduction <= position for reduction in genotype.reductions)
            words = f"{factor if factor > 1 else ''}C" + (" ÷2" if reduces else "")
            colour = REDUCTION if reduces else MUTED
            canvas.text((x + BOX[0] / 2, y - BOX[1] / 2 - 7), words, size=6.4, align="center", colour=colour)
        if position == len(order) - 1:
            _link(canvas, x + BOX[0], y)
            _end(canvas, x + BOX[0] + BOX_GAP, y, "linear")


def _position(canvas: Canvas, at: Point, label: str, tint: str, reduces: bool) -> None:
    (x, y), half = at, BOX[1] / 2
    if reduces:
        corners = [(x, y - half), (x, y + half), (x + BOX[0], y + half - 4), (x + BOX[0], y - half + 4)]
        canvas.polygon(corners, fill=tint, line=REDUCTION, layer=3)
    else:
        canvas.box((x, y - half), BOX, fill=tint, line=HAIRLINE if tint == "white" else None, radius=3, layer=3)
    canvas.text((x + BOX[0] / 2, y), label, size=8, bold=True, align="center")


def _end(canvas: Canvas, x: float, y: float, words: str) -> None:
    canvas.box((x, y - 7), (END, 14), fill="white", line=HAIRLINE, radius=3, layer=3)
    canvas.text((x + END / 2, y), words, size=7.2, align="center", colour=MUTED)


def _link(canvas: Canvas, x: float, y: float) -> None:
    canvas.path([(x, y), (x + BOX_GAP, y)], "ML", colour=MUTED, weight=0.8)
