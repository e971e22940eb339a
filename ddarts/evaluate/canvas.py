"""A sheet of paper in points: text, pills, curves and arrows on a matplotlib figure, without pyplot and its state.

The same input gives the same bytes: text becomes paths (the drawing opens alike everywhere), identifiers are hashed
with a fixed salt, and no date is written. User settings (matplotlibrc) have no effect.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from html import escape

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from ddarts.evaluate.layout import Point
from ddarts.evaluate.style import INK

POINTS_PER_INCH = 72.0
FONT = "DejaVu Sans"  # ships with matplotlib
PNG_DPI = 200.0
PNG_MAX_PIXELS = 60e6
PNG_MAX_SIDE = 30_000.0
# What this program's own files carry, so that it may replace a file it made and no other.
MARK = "Drawn by ddarts show"
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib's own defaults plus what makes output reproducible, restored afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "ddarts", "font.family": FONT})
        yield


@cache
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of a line of text in points."""
    font = FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    return text_to_path.get_text_width_height_descent(text, font, ismath=text.count("$") >= 2)[0]


class Canvas:
    """A figure of `width` by `height` points with the origin at the lower left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(0, height)
        self.axes.axis("off")

    def text(
        self,
        at: Point,
        text: str,
        *,
        size: float = 8.0,
        bold: bool = False,
        colour: str = INK,
        align: str = "left",
        gid: str | None = None,
        layer: float = 6,
    ) -> Text:
        """Write a line whose middle height is at `at`; `align` is left, center or right."""
        artist = self.axes.text(
            at[0],
            at[1] - 0.36 * size,
            text,
            fontsize=size,
            fontweight="bold" if bold else "normal",
            color=colour,
            ha=align,
            va="baseline",
            zorder=layer,
            gid=gid,
        )
        return artist

    def box(
        self,
        corner: Point,
        size: Point,
        *,
        fill: str,
        line: str | None = None,
        radius: float = 3.0,
        weight: float = 0.7,
        dash: Sequence[float] | None = None,
        layer: float = 0,
    ) -> None:
        """A rectangle with round corners; `corner` is the lower left one."""
        patch = FancyBboxPatch(
            corner,
            *size,
            boxstyle=f"round,pad=0,rounding_size={radius}",
            facecolor=fill,
            edgecolor=line or "none",
            linewidth=weight if line else 0,
            linestyle=(0, tuple(dash)) if dash else "solid",
            zorder=layer,
        )
        self.axes.add_patch(patch)

    def circle(
        self, centre: Point, radius: float, *, fill: str, line: str, dash: Sequence[float] | None = None
    ) -> None:
        """A node."""
        style = (0, tuple(dash)) if dash else "solid"
        patch = Circle(centre, radius, facecolor=fill, edgecolor=line, linewidth=1.1, linestyle=style, zorder=5)
        self.axes.add_patch(patch)

    def polygon(self, points: Sequence[Point], *, fill: str, line: str | None = None, layer: float = 4) -> None:
        """A filled outline (arrowheads, trapezoids)."""
        patch = Polygon(points, closed=True, facecolor=fill, edgecolor=line or "none", linewidth=0.8, zorder=layer)
        patch.set_joinstyle("round")
        self.axes.add_patch(patch)

    def path(
        self,
        points: Sequence[Point],
        codes: str,
        *,
        colour: str,
        weight: float = 1.0,
        dash: Sequence[float] | None = None,
        layer: float = 2,
        gid: str | None = None,
    ) -> None:
        """A line through `points`; `codes` has one letter for each: M move, L line, C cubic (three in a row)."""
        kinds = {"M": Path.MOVETO, "L": Path.LINETO, "C": Path.CURVE4}
        patch = PathPatch(
            Path(points, [kinds[letter] for letter in codes]),
            fill=False,
            edgecolor=colour,
            linewidth=weight,
            linestyle=(0, tuple(dash)) if dash else "solid",
            capstyle="butt" if dash else "round",
            zorder=layer,
            gid=gid,
        )
        self.axes.add_patch(patch)

    def svg(self, title: str) -> str:
        """The drawing as SVG text: no document type, no metadata, nothing that refers to another file."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata=_METADATA)
        body = buffer.getvalue()
        body = body[body.index("<svg") :]
        opening = f'<!-- {MARK} -->\n<svg role="img"'
        body = body.replace("<svg", opening, 1)
        return re.sub(r"(<svg[^>]*>)", lambda match: f"{match[1]}\n <title>{escape(title)}</title>", body, count=1)

    def png(self) -> bytes:
        """The drawing as PNG, at 200 dots per inch unless that would make an enormous picture."""
        inches = (self.width / POINTS_PER_INCH, self.height / POINTS_PER_INCH)
        dpi = min(PNG_DPI, PNG_MAX_SIDE / max(inches), (PNG_MAX_PIXELS / (inches[0] * inches[1])) ** 0.5)
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": MARK})
        return buffer.getvalue()
