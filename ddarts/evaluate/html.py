"""A genotype as one page that needs no other file: drawings as inline SVG, listings, and the genotype itself."""

import re
from collections.abc import Sequence
from html import escape

from ddarts.evaluate.bands import (
    BOX_GAP,
    LEGEND_ROW,
    legend_rows,
    paint_legend,
    paint_strip,
    strip_height,
    strip_width,
)
from ddarts.evaluate.canvas import MARK, POINTS_PER_INCH, Canvas
from ddarts.evaluate.sheet import KEY, single
from ddarts.evaluate.text import cell_lines
from ddarts.evaluate.wiring import UsedCell, notes, summary
from ddarts.genotype.files import to_json
from ddarts.genotype.schema import Genotype

PIXELS_PER_INCH = 96.0
STRIP_WIDTH = 640.0  # points, at most
LEGEND_WIDTH = 270.0  # fits a telephone without scrolling

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px 20px 48px; background: #fff; color: #1c1f24;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 0 0 8px; font-size: 1.05rem; }
h2 small, .lead, footer { color: #5b6470; font-weight: normal; font-size: .92rem; }
h2 b { color: #8a5200; }
.cell { margin: 20px 0 0; padding: 16px; border: 1px solid #d5d9de; border-radius: 8px; }
.cell.reduction { background: #fff7ea; }
.drawing { overflow-x: auto; }
.drawing:focus-visible { outline: 2px solid #0068a8; }
.drawing svg { display: block; height: auto; }
.cell .drawing svg { margin: 0 auto; }
details { margin-top: 10px; }
summary { cursor: pointer; color: #0068a8; padding: 4px 0; }
pre { overflow-x: auto; margin: 6px 0 0; padding: 10px 12px; border-radius: 6px; background: #f4f5f7;
      font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; }
@media (max-width: 600px) { body { padding: 16px 12px 32px; } .cell { padding: 12px; } }
""".strip()


def page(genotype: Genotype, cells: Sequence[UsedCell]) -> str:
    """The page as text. Drawings keep their size and scroll sideways where the window is narrower."""
    name = escape(genotype.name)
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="{MARK}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}</title>\n<style>\n{STYLE}\n</style></head>\n<body>",
        f'<header><h1>{name}</h1>\n<p class="lead">{escape(summary(genotype))}</p>',
        inline(strip(genotype), "network", f"The network {genotype.name}: its cells in order"),
        inline(legend(cells), "legend", "Colours of the families of operations"),
        "</header>\n<main>",
        *(_section(cell) for cell in cells),
        "</main>\n<footer>",
        *(f"<p>{subscripts(escape(note))}</p>" for note in (*notes(genotype), KEY)),
        f"<details><summary>Genotype (JSON)</summary><pre>{escape(to_json(genotype))}</pre></details>",
        "</footer>\n</body></html>\n",
    ]
    return "\n".join(parts)


def subscripts(text: str) -> str:
    return re.sub(r"(c)_\{([^}]*)\}", r"<i>\1<sub>\2</sub></i>", text)


def _section(cell: UsedCell) -> str:
    kind = "cell reduction" if cell.reduction else "cell"
    role = f"<b>{escape(cell.role)}</b>" if cell.reduction else escape(cell.role)
    place = escape(f"{cell.place} · nodes {' '.join(map(str, cell.kept))}")
    drawing = inline(single(cell), f"c{cell.index}", f"Cell {cell.index}, {cell.role}")
    listing = escape("\n".join(cell_lines(cell)))
    return (
        f'<section class="{kind}">\n<h2>Cell {cell.index} · {role} <small>· {place}</small></h2>\n{drawing}\n'
        f"<details><summary>As text</summary><pre>{listing}</pre></details>\n</section>"
    )


def strip(genotype: Genotype) -> Canvas:
    width = min(strip_width(genotype) + BOX_GAP, STRIP_WIDTH)
    canvas = Canvas(width + 2, strip_height(genotype, width) + 4)
    paint_strip(canvas, genotype, (1, canvas.height - 2), width)
    return canvas


def legend(cells: Sequence[UsedCell]) -> Canvas:
    rows = legend_rows(cells, LEGEND_WIDTH)
    canvas = Canvas(LEGEND_WIDTH, LEGEND_ROW * len(rows) + 4)
    paint_legend(canvas, rows, (2, canvas.height - 4))
    return canvas


def inline(canvas: Canvas, prefix: str, title: str) -> str:
    """The drawing as an element of the page; identifiers get a prefix, since a page must not repeat one."""
    canvas.figure.patch.set_alpha(0)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", canvas.svg(title))
    pixels = canvas.width * PIXELS_PER_INCH / POINTS_PER_INCH
    size = f'style="width: {pixels:.0f}px; min-width: {min(pixels, 1150):.0f}px; max-width: 100%"'
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf"\1 {size}", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return f'<div class="drawing" tabindex="0" role="group" aria-label="{escape(title)}">\n{body}</div>'
