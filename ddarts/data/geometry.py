"""Which part of a photograph is shown, and at what size. Legend: S side of the images that the network sees.

Every loader takes the same three steps: cut a window out of the image, resize it, cut S x S out of the result.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

AREA = (0.08, 1.0)  # of a random window, as a part of the image
RATIO = (3 / 4, 4 / 3)  # of its width to its height
TRIES = 10  # windows drawn before the largest one in the middle is taken
NUMBERS = 2 * TRIES + 2  # areas, ratios, and where the window lies


class Geometry(NamedTuple):
    """In pixels: the window in the image, its size after resizing, and the corner of the S x S square in that."""

    top: int
    left: int
    height: int
    width: int
    to_height: int
    to_width: int
    square_top: int
    square_left: int


def random_crop(height: int, width: int, size: int, numbers: Sequence[float]) -> Geometry:
    """A random window of an image of height x width, resized to size x size.

    numbers: NUMBERS uniform ones in [0, 1). Its area and the logarithm of its ratio are uniform (Szegedy et al. 2015,
    "Going deeper with convolutions", section 6); what does not fit in the image is drawn again.
    """
    low, high = (math.log(ratio) for ratio in RATIO)
    for area, ratio in zip(numbers[:TRIES], numbers[TRIES:-2], strict=True):
        pixels = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
        shape = math.exp(low + (high - low) * ratio)
        h, w = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
        if 0 < h <= height and 0 < w <= width:
            top, left = int((height - h + 1) * numbers[-2]), int((width - w + 1) * numbers[-1])
            return Geometry(top, left, h, w, size, size, 0, 0)
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    return Geometry((height - h) // 2, (width - w) // 2, h, w, size, size, 0, 0)


def centre_crop(height: int, width: int, size: int, resize: int) -> Geometry:
    """The middle size x size of an image of height x width whose shorter side becomes `resize` (>= size)."""
    to_height, to_width = shorter_side(height, width, resize)
    top, left = round((to_height - size) / 2), round((to_width - size) / 2)
    return Geometry(0, 0, height, width, to_height, to_width, top, left)


def shorter_side(height: int, width: int, resize: int) -> tuple[int, int]:
    """Height and width after the shorter of them became `resize`."""
    short = min(height, width)
    return resize * height // short, resize * width // short
