"""AutoAugment's operations in DALI, chosen image by image. The numbers are those of `policies`.

Legend: H, W pixels of an image as DALI has it (H, W, 3).
"""

from typing import Any

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.auto_aug import augmentations as library
from nvidia.dali.auto_aug.core import augmentation, select, signed_bin
from nvidia.dali.pipeline import do_not_convert

from ddarts.data.policies import BINS, NAMES, OPERATIONS

Node = Any


def apply_policy(images: Node, steps: Node, size: tuple[int, int]) -> Node:
    """Both steps, int32 [2, 3] for each image (see `policies.choose`), on images of H x W = size."""
    operations = _operations(*size)
    for step in range(2):
        strength = signed_bin(steps[step, 1], random_sign=steps[step, 2])
        images = select(
            operations,
            steps[step, 0],
            images,
            magnitude_bin=strength,
            num_magnitude_bins=BINS,
            fill_value=0,
            interp_type=types.INTERP_NN,
        )
    return images


@do_not_convert
def _operations(height: int, width: int) -> list[Any]:
    """DALI's augmentation for each of `policies.NAMES`, with the strengths of that table."""
    strengths = {name: np.array(operation.strengths, np.float32) for name, operation in OPERATIONS.items()}
    sides = {"translate_x": width, "translate_y": height}
    for name, side in sides.items():
        strengths[name] = np.trunc(strengths[name] * side)
    for name in ("shear_x", "shear_y"):  # DALI shears the other way
        strengths[name] = -strengths[name]
    there = {
        "translate_x": library.translate_x_no_shape,
        "translate_y": library.translate_y_no_shape,
        "posterize": _posterize,
        "sharpness": _sharpness,
        "equalize": _equalize,
    }
    made = []
    for name in NAMES:
        found = there.get(name) or getattr(library, name)
        plain = found.mag_range is None  # an operation without a strength
        made.append(found if plain else found.augmentation(mag_range=strengths[name]))
    return made


def _kept_bits(bits: float) -> np.ndarray:
    return np.array(256 - 2 ** (8 - int(bits)), np.uint8)


@augmentation(mag_range=(0, 4), mag_to_param=_kept_bits, param_device="auto", name="posterize")
def _posterize(images: Node, mask: Node) -> Node:
    return images & mask


@augmentation(mag_range=(0, 0.9), randomly_negate=True, mag_to_param=library.sharpness_kernel, param_device="auto")
def _sharpness(images: Node, kernel: Node) -> Node:
    return fn.filter(images, kernel)


@augmentation
def _equalize(images: Node, _: Node) -> Node:
    return fn.equalize(images)
