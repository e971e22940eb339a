"""A folder tree of real JPEG files, as ImageNet's but small: crops of the two photographs that ship with
scikit-learn, of many sizes, in classes that can be told apart (which photograph, and which part of it)."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n00000001", "n00000002", "n00000003", "n00000004")  # temple left, temple right, flower left, flower right
QUALITY = 90
_SMALLEST = 0.5  # shorter side of a crop, as a part of the largest


def make_tree(root: Path, train: int, val: int, size: int = 375, seed: int = 0) -> Path:
    """Write root/train/<class>/*.JPEG and root/val/<class>/*.JPEG, `train` and `val` files for each class, whose
    shorter side has at most `size` pixels (at most 427); returns `root`."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(seed)
    photographs = load_sample_images().images
    for label, name in enumerate(CLASSES):
        photograph = photographs[label // 2]
        half = np.array_split(photograph, 2, axis=1)[label % 2]  # 427 x 320
        for split, count in (("train", train), ("val", val)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                crop = _crop(photograph if size > half.shape[1] else half, size, label % 2, random)
                Image.fromarray(crop).save(folder / f"{name}_{number}.JPEG", quality=QUALITY)
    return root


def _crop(pixels: np.ndarray, size: int, right: int, random: np.random.Generator) -> np.ndarray:
    """A part of random size, between wide and high, from the left or right half of what is left to choose."""
    height, width = pixels.shape[:2]
    h = int(random.integers(int(size * _SMALLEST), min(size, height) + 1))
    w = int(min(width, h * random.uniform(0.75, 1.5)))
    top = int(random.integers(0, height - h + 1))
    spare = width - w
    left = int(random.integers(0, spare // 3 + 1)) + (spare - spare // 3 if right else 0)
    return np.ascontiguousarray(pixels[top : top + h, left : left + w])
