"""How operations look: one colour and one line style per family, safe for colour-blind readers and in grey print.

The hues are those of Okabe and Ito's palette; a family differs from every other in hue, lightness or dash.
"""

from dataclasses import dataclass

INK = "#1c1f24"
MUTED = "#5b6470"
GHOST = "#b4bac2"
HAIRLINE = "#d5d9de"
RAIL = "#a3aab3"
STATE = "#eef0f3"
CARD = "#ffffff"
CARD_REDUCTION = "#fff7ea"
REDUCTION = "#8a5200"


@dataclass(frozen=True)
class Family:
    """Operations that are drawn alike. `dash` is in units of points, None for a solid line."""

    name: str
    line: str
    fill: str
    dash: tuple[float, ...] | None = None


POOL = Family("pooling", "#4fa8d8", "#e3f2fb", (0.9, 1.3))
SKIP = Family("skip connection", "#6b7280", "#eceef1", (3.6, 1.6))
SEPARABLE = Family("separable convolution", "#0068a8", "#cfe1f2")
DILATED = Family("dilated convolution", "#d55e00", "#fbe0cd")
DENSE = Family("dense convolution", "#00835f", "#d0eee3")
BOTTLENECK = Family("bottleneck", "#b4588f", "#f5dceb")
FAMILIES = (SEPARABLE, DILATED, DENSE, BOTTLENECK, POOL, SKIP)

_PREFIXES = (
    ("max_pool", POOL),
    ("avg_pool", POOL),
    ("skip_connect", SKIP),
    ("sep_conv", SEPARABLE),
    ("dil_conv", DILATED),
    ("bottleneck", BOTTLENECK),
)


def family(operation: str) -> Family:
    """The family of an operation; simple_conv_KxK and the factorised conv_KxJ_JxK are the dense convolutions."""
    return next((found for prefix, found in _PREFIXES if operation.startswith(prefix)), DENSE)


def cell_tint(index: int, count: int) -> str:
    """A light colour for cell `index` of `count`, from blue over green to yellow; dark text is readable on it."""
    stops = ((190, 206, 240), (178, 222, 228), (196, 232, 196), (246, 236, 170))
    place = (index / (count - 1) if count > 1 else 0.0) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    share = place - low
    mixed = (round(a + (b - a) * share) for a, b in zip(stops[low], stops[low + 1], strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
