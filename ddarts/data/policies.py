"""AutoAugment (Cubuk et al. 2019, arXiv 1805.09501): the policies found on CIFAR-10 and on ImageNet, and how an
operation changes an image. Legend: H, W pixels of an image.

A policy is 25 pairs of steps; each image takes one pair. A step is an operation, how probable it is, and how strong:
a bin of 0..9 between no effect and the strongest.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

BINS = 10
_TRANSLATION = 150 / 331  # of the image's width or height at the strongest


@dataclass(frozen=True)
class Operation:
    """Its ten strengths (a translation's as a part of the side), and whether half of the time the sign is turned."""

    strengths: Sequence[float]
    signed: bool = True


def _up_to(strongest: float, start: float = 0.0) -> list[float]:
    return np.linspace(start, strongest, BINS, dtype=np.float32).tolist()


_NONE = [0.0] * BINS
# The place of an operation is its number in Draws.policy; 0 leaves the image as it is.
OPERATIONS: Mapping[str, Operation] = {
    "identity": Operation(_NONE, signed=False),
    "shear_x": Operation(_up_to(0.3)),
    "shear_y": Operation(_up_to(0.3)),
    "translate_x": Operation(_up_to(_TRANSLATION)),
    "translate_y": Operation(_up_to(_TRANSLATION)),
    "rotate": Operation(_up_to(30.0)),
    "brightness": Operation(_up_to(0.9)),
    "color": Operation(_up_to(0.9)),
    "contrast": Operation(_up_to(0.9)),
    "sharpness": Operation(_up_to(0.9)),
    "posterize": Operation([8 - round(4 * bin / 9) for bin in range(BINS)], signed=False),  # bits that stay
    "solarize": Operation(_up_to(0.0, start=255.0), signed=False),
    "auto_contrast": Operation(_NONE, signed=False),
    "equalize": Operation(_NONE, signed=False),
    "invert": Operation(_NONE, signed=False),
}
NAMES = tuple(OPERATIONS)

# operation, probability, bin; twice
_CIFAR10 = """
    invert 0.1 0         contrast 0.2 6
    rotate 0.7 2         translate_x 0.3 9
    sharpness 0.8 1      sharpness 0.9 3
    shear_y 0.5 8        translate_y 0.7 9
    auto_contrast 0.5 0  equalize 0.9 0
    shear_y 0.2 7        posterize 0.3 7
    color 0.4 3          brightness 0.6 7
    sharpness 0.3 9      brightness 0.7 9
    equalize 0.6 0       equalize 0.5 0
    contrast 0.6 7       sharpness 0.6 5
    color 0.7 7          translate_x 0.5 8
    equalize 0.3 0       auto_contrast 0.4 0
    translate_y 0.4 3    sharpness 0.2 6
    brightness 0.9 6     color 0.2 8
    solarize 0.5 2       invert 0.0 0
    equalize 0.2 0       auto_contrast 0.6 0
    equalize 0.2 0       equalize 0.6 0
    color 0.9 9          equalize 0.6 0
    auto_contrast 0.8 0  solarize 0.2 8
    brightness 0.1 3     color 0.7 0
    solarize 0.4 5       auto_contrast 0.9 0
    translate_y 0.9 9    translate_y 0.7 9
    auto_contrast 0.9 0  solarize 0.8 3
    equalize 0.8 0       invert 0.1 0
    translate_y 0.7 9    auto_contrast 0.9 0
"""
_IMAGENET = """
    posterize 0.4 8      rotate 0.6 9
    solarize 0.6 5       auto_contrast 0.6 0
    equalize 0.8 0       equalize 0.6 0
    posterize 0.6 7      posterize 0.6 6
    equalize 0.4 0       solarize 0.2 4
    equalize 0.4 0       rotate 0.8 8
    solarize 0.6 3       equalize 0.6 0
    posterize 0.8 5      equalize 1.0 0
    rotate 0.2 3         solarize 0.6 8
    equalize 0.6 0       posterize 0.4 6
    rotate 0.8 8         color 0.4 0
    rotate 0.4 9         equalize 0.6 0
    equalize 0.0 0       equalize 0.8 0
    invert 0.6 0         equalize 1.0 0
    color 0.6 4          contrast 1.0 8
    rotate 0.8 8         color 1.0 2
    color 0.8 8          solarize 0.8 7
    sharpness 0.4 7      invert 0.6 0
    shear_x 0.6 5        equalize 1.0 0
    color 0.4 0          equalize 0.6 0
    equalize 0.4 0       solarize 0.2 4
    solarize 0.6 5       auto_contrast 0.6 0
    invert 0.6 0         equalize 1.0 0
    color 0.6 4          contrast 1.0 8
    equalize 0.8 0       equalize 0.6 0
"""


def _table(text: str) -> np.ndarray:
    """float64 [25, 2, 3]: number of the operation, probability, bin."""
    words = np.array(text.split()).reshape(-1, 2, 3)
    numbers = np.vectorize(NAMES.index)(words[..., 0])
    return np.stack([numbers, words[..., 1], words[..., 2]], axis=-1).astype(np.float64)


POLICIES = {"cifar10": _table(_CIFAR10), "imagenet": _table(_IMAGENET)}


def choose(policy: str, count: int, random: np.random.Generator) -> np.ndarray:
    """What `policy` does to `count` images: int64 [count, 2, 3], operation, bin, and 1 where the sign is turned."""
    table = POLICIES[policy]
    steps = table[random.integers(0, len(table), count)]
    happens = random.random((count, 2)) < steps[..., 1]
    turned = random.integers(0, 2, (count, 2))
    operation = np.where(happens, steps[..., 0], 0)
    return np.stack([operation, steps[..., 2], turned], axis=-1).astype(np.int64)


def apply(image: Tensor, steps: Sequence[Sequence[int]]) -> Tensor:
    """The two steps (operation, bin, turned) on an image, uint8 [3, H, W]."""
    for number, bin, turned in steps:
        name = NAMES[number]
        operation = OPERATIONS[name]
        strength = operation.strengths[bin] * (-1 if turned and operation.signed else 1)
        if name != "identity":
            image = _functions()[name](image, strength)
    return image


def _functions() -> Mapping[str, Callable[[Tensor, float], Tensor]]:
    from torchvision.transforms.v2 import functional as F

    def shear(image: Tensor, x: float, y: float) -> Tensor:
        degrees = [math.degrees(math.atan(amount)) for amount in (x, y)]
        return F.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])

    def translate(image: Tensor, x: float, y: float) -> Tensor:
        height, width = image.shape[1:]
        return F.affine(image, angle=0.0, translate=[int(x * width), int(y * height)], scale=1.0, shear=[0.0, 0.0])

    return {
        "shear_x": lambda image, strength: shear(image, strength, 0.0),
        "shear_y": lambda image, strength: shear(image, 0.0, strength),
        "translate_x": lambda image, strength: translate(image, strength, 0.0),
        "translate_y": lambda image, strength: translate(image, 0.0, strength),
        "rotate": lambda image, strength: F.rotate(image, strength),
        "brightness": lambda image, strength: F.adjust_brightness(image, 1 + strength),
        "color": lambda image, strength: F.adjust_saturation(image, 1 + strength),
        "contrast": lambda image, strength: F.adjust_contrast(image, 1 + strength),
        "sharpness": lambda image, strength: F.adjust_sharpness(image, 1 + strength),
        "posterize": lambda image, strength: F.posterize(image, int(strength)),
        "solarize": lambda image, strength: F.solarize(image, strength),
        "auto_contrast": lambda image, _: F.autocontrast(image),
        "equalize": lambda image, _: F.equalize(image),
        "invert": lambda image, _: F.invert(image),
    }
