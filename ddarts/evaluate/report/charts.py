"""Figures in large type, and line charts as SVG text, whose colours come from the page's style sheet.

A chart is 360 units wide, the width of a telephone, and grows with the page. Every point has its value as a tooltip,
every chart its story in words.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from ddarts.evaluate.report.rundata import Points

WIDTH, HEIGHT = 360.0, 214.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 50.0, 10.0, 30.0
LABEL = 12.0  # distance that keeps two labels apart
LOG_FROM = 30.0  # ratio of the largest value to the smallest from which a logarithmic scale shows both
MANY = 25  # points of a line whose dots can be told apart; of a longer one only the last is shown


@dataclass(frozen=True)
class Tile:
    """A figure in large type."""

    label: str
    value: str
    hint: str


@dataclass(frozen=True)
class Series:
    """A line. `look` picks its colour and dashes in the style sheet: one meaning, one look, in every chart."""

    name: str
    points: Points
    look: str


@dataclass(frozen=True)
class Chart:
    """A drawn chart, and what its caption needs. `svg` is markup."""

    title: str
    note: str
    series: tuple[Series, ...]
    svg: str
    text: Callable[[float], str]


def chart(
    identifier: str,
    title: str,
    series: Sequence[Series],
    *,
    note: str = "",
    percent: bool = False,
    from_zero: bool = False,
    between: tuple[int, int] | None = None,
    x_name: str = "epoch",
) -> Chart | None:
    """A chart of the series that have points, or None where none has. `between`: two series to shade between."""
    shown = tuple(line for line in series if line.points)
    if not shown:
        return None
    values = [y for line in shown for _, y in line.points] + [0.0] * from_zero
    logarithmic = not percent and min(values) > 0 and max(values) / min(values) > LOG_FROM
    text = _percent if percent else number
    plot = _Plot([x for line in shown for x, _ in line.points], values, logarithmic, percent)
    parts = [plot.grid(text, x_name)]
    if between and all(series[index].points for index in between):
        parts.append(plot.area(*(series[index].points for index in between)))
    parts += [plot.line(line, text) for line in shown]
    parts.append(plot.labels(shown, text))
    if logarithmic:
        note = f"{note} Logarithmic scale.".strip()
    story = "; ".join(f"{line.name}: {_story(line.points, text)}" for line in shown)
    return Chart(title, note, shown, _svg(identifier, title, story, parts), text)


def number(value: float) -> str:
    """A value in few digits: 1,234; 12.3; 0.0123."""
    size = abs(value)
    text = f"{value:,.0f}" if size >= 1000 or size == 0 else f"{value:.3g}" if size >= 1e-3 else f"{value:.1e}"
    return text.replace("e-0", "e-").replace("-", "−")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, at most `most` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10, 20) if (high - low) / (unit * factor) <= most - 1 + 1e-9)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _percent(value: float) -> str:
    return f"{value:.2f} %" if value < 99.995 else "100 %"


def _story(points: Points, text: Callable[[float], str]) -> str:
    (first, start), (last, end) = points[0], points[-1]
    if len(points) == 1:
        return f"{text(start)} after {first:g}"
    lowest, highest = min(y for _, y in points), max(y for _, y in points)
    return f"from {text(start)} at {first:g} to {text(end)} at {last:g}, lowest {text(lowest)}, highest {text(highest)}"


def _svg(identifier: str, title: str, story: str, parts: list[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
        f'aria-labelledby="{identifier}-t {identifier}-d"><title id="{identifier}-t">{escape(title)}</title>'
        f'<desc id="{identifier}-d">{escape(story)}</desc>{"".join(parts)}</svg>'
    )


class _Plot:
    """The plane of a chart: where a point of the data lies, and what is drawn there."""

    def __init__(self, xs: list[float], ys: list[float], logarithmic: bool, percent: bool) -> None:
        self.x_range = (min(xs), max(xs))
        self.log = logarithmic
        low, high = min(ys), max(ys)
        if percent:
            low, high = (0.0 if low < 60 else 10 * math.floor(low / 10)), 100.0
        elif not logarithmic:
            low, high = self._roomy(low, high)
        self.y_range = (low, high)

    @staticmethod
    def _roomy(low: float, high: float) -> tuple[float, float]:
        """The range from 0, where that is near, else with some room on both sides."""
        span = high - low or abs(high) or 1.0
        bottom = 0.0 if 0 <= low <= span else low - 0.06 * span
        top = 0.0 if low < 0 and -span <= high <= 0 else high + 0.06 * span
        return bottom, top

    def x(self, value: float) -> float:
        low, high = self.x_range
        share = (value - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        (low, high), place = self.y_range, value
        if self.log:
            low, high, place = math.log(low), math.log(high), math.log(value)
        share = (place - low) / (high - low) if high > low else 0.5
        return HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)

    def grid(self, text: Callable[[float], str], x_name: str) -> str:
        parts = []
        for value in self._y_ticks():
            y, words = self.y(value), number(value)
            parts.append(
                f'<path class="grid{" zero" if value == 0 else ""}" d="M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}"/>'
                f'<text class="tick" x="{LEFT - 6:g}" y="{y + 3.5:.1f}" text-anchor="end">{words}</text>'
            )
        foot = HEIGHT - BOTTOM + 14
        whole = [value for value in ticks(*self.x_range, most=6) if value == int(value)]
        for value in whole:
            parts.append(
                f'<text class="tick" x="{self.x(value):.1f}" y="{foot:g}" text-anchor="middle">{value:g}</text>'
            )
        parts.append(f'<text class="axis" x="{WIDTH - RIGHT:g}" y="{HEIGHT - 3:g}" text-anchor="end">{x_name}</text>')
        return "".join(parts)

    def _y_ticks(self) -> list[float]:
        low, high = self.y_range
        if not self.log:
            return ticks(low, high)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [10.0**power for power in powers if low <= 10.0**power <= high]
        return found if len(found) > 1 else [low, high]

    def _coordinates(self, points: Points) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def area(self, upper: Points, lower: Points) -> str:
        """What lies between two lines."""
        return f'<polygon class="between" points="{self._coordinates(upper)} {self._coordinates(lower[::-1])}"/>'

    def line(self, series: Series, text: Callable[[float], str]) -> str:
        path = f'<polyline class="line {series.look}" points="{self._coordinates(series.points)}"/>'
        unseen = len(series.points) - 1 if len(series.points) > MANY else 0
        dots = (
            f'<circle class="{"unseen" if index < unseen else f"dot {series.look}"}" cx="{self.x(x):.1f}" '
            f'cy="{self.y(y):.1f}" r="2.6"><title>{escape(series.name)}, {x:g}: {text(y)}</title></circle>'
            for index, (x, y) in enumerate(series.points)
        )
        return path + "".join(dots)

    def labels(self, series: Sequence[Series], text: Callable[[float], str]) -> str:
        """The last value of every line at its end, moved apart where they would overlap."""
        wanted = sorted(((self.y(line.points[-1][1]), line) for line in series), key=lambda pair: pair[0])
        places: list[float] = []
        for y, _ in wanted:
            places.append(max(y, places[-1] + LABEL) if places else y)
        overflow = max(0.0, places[-1] - (HEIGHT - BOTTOM))
        parts = []
        for place, (_, line) in zip(places, wanted, strict=True):
            words = text(line.points[-1][1]).removesuffix(" %")
            x = WIDTH - RIGHT + 7
            parts.append(f'<text class="end {line.look}" x="{x:g}" y="{place - overflow + 3.5:.1f}">{words}</text>')
        return "".join(parts)
