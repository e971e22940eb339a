"""Puts the cells of a genotype on one sheet: heading, strip of the whole network, legend, cells in a grid, notes."""

import math
import re
import textwrap
from collections.abc import Sequence

from ddarts.evaluate.bands import LEGEND_ROW, legend_rows, paint_legend, paint_strip, strip_height
from ddarts.evaluate.canvas import Canvas, text_width
from ddarts.evaluate.cell_art import paint, plan
from ddarts.evaluate.layout import CellLayout, Point
from ddarts.evaluate.style import CARD, CARD_REDUCTION, HAIRLINE, INK, MUTED, REDUCTION, cell_tint
from ddarts.evaluate.wiring import UsedCell, notes, summary
from ddarts.genotype.schema import Genotype

MARGIN = 18.0
PADDING = 12.0
TITLE = 22.0
GAP = 12.0
PAGE = (0.72, 1.40)  # width over height of a page of text, upright and across


KEY = "C: channels of the nodes, doubled by every reduction (÷2: half the resolution); n·C: channels of the output."


def sheet(genotype: Genotype, cells: Sequence[UsedCell]) -> Canvas:
    """Draw `cells` of `genotype`, with the strip that shows where each stands."""
    plans = plan(cells)
    card = (max(p.width for p in plans) + 2 * PADDING, max(p.height for p in plans) + 2 * PADDING + TITLE)
    columns = _columns(len(cells), card)
    rows = [range(i, min(i + columns, len(plans))) for i in range(0, len(plans), columns)]
    heights = [max(plans[i].height for i in row) + 2 * PADDING + TITLE for row in rows]
    width = max(columns * (card[0] + GAP) - GAP, 480.0)
    lines = [line for note in (*notes(genotype), KEY) for line in textwrap.wrap(note, int(width / 4.3))]
    legend = legend_rows(cells, width)
    head = 44.0 + strip_height(genotype, width) + LEGEND_ROW * len(legend) + 8.0
    canvas = Canvas(width + 2 * MARGIN, head + sum(heights) + GAP * len(rows) + 13.0 * len(lines) + 2 * MARGIN)
    y = canvas.height - MARGIN
    _paint_heading(canvas, genotype, y, width)
    paint_strip(canvas, genotype, (MARGIN, y - 44.0), width)
    paint_legend(canvas, legend, (MARGIN, y - 44.0 - strip_height(genotype, width)))
    y -= head
    for row, height in zip(rows, heights, strict=True):
        for place, index in enumerate(row):
            corner = (MARGIN + place * (card[0] + GAP), y - height)
            _paint_card(canvas, corner, (card[0], height), cells[index], plans[index], len(genotype.cells))
        y -= height + GAP
    for number, line in enumerate(lines):
        canvas.text((MARGIN, y - 6 - 13.0 * number), re.sub(r"(c_\{[^}]*\})", r"$\1$", line), size=8, colour=MUTED)
    return canvas


def single(cell: UsedCell) -> Canvas:
    """Draw one cell without a card around it."""
    (layout,) = plan([cell])
    canvas = Canvas(layout.width + 8, layout.height + 8)
    paint(canvas, (4, 4), cell, layout)
    return canvas


def _paint_heading(canvas: Canvas, genotype: Genotype, top: float, width: float) -> None:
    name = genotype.name.replace("$", r"\$")
    size = min(14.0, 14.0 * width / max(text_width(name, 14.0, True), 1.0))
    canvas.text((MARGIN, top - 8), name, size=size, bold=True)
    canvas.text((MARGIN, top - 27), summary(genotype), size=8.6, colour=MUTED)


def _columns(count: int, card: tuple[float, float]) -> int:
    """The number of columns whose sheet needs the least shrinking to fit a page, upright or across."""

    def shrink(columns: int) -> float:
        wide, high = columns * card[0], math.ceil(count / columns) * card[1] + 100
        return max(min(shape / wide, 1 / high) / shape**0.5 for shape in PAGE)

    return max(range(1, count + 1), key=lambda columns: (round(shrink(columns), 9), -columns))


def _paint_card(canvas: Canvas, corner: Point, size: Point, cell: UsedCell, layout: CellLayout, count: int) -> None:
    fill = CARD_REDUCTION if cell.reduction else CARD
    canvas.box(corner, size, fill=fill, line=HAIRLINE, radius=6)
    left, middle = corner[0] + PADDING, corner[1] + size[1] - PADDING - 4
    title = f"Cell {cell.index}"
    chip = text_width(title, 9.5, True) + 12
    canvas.box((left, middle - 8), (chip, 16), fill=cell_tint(cell.index, count), radius=4, layer=4)
    canvas.text((left + 6, middle), title, size=9.5, bold=True)
    left += chip + 8
    for words, colour, bold in (
        (cell.role, REDUCTION if cell.reduction else INK, True),
        (f"·  {cell.place}  ·  nodes {' '.join(map(str, cell.kept))}", MUTED, False),
    ):
        canvas.text((left, middle), words, size=8.6, colour=colour, bold=bold)
        left += text_width(words, 8.6, bold) + 6
    free = size[1] - 2 * PADDING - TITLE
    origin = (
        corner[0] + (size[0] - layout.width) / 2,
        corner[1] + PADDING + (free - layout.height) / 2,
    )
    paint(canvas, origin, cell, layout)
