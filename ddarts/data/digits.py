"""The 1,797 handwritten digits that ship with scikit-learn, 1,437 for training and 360 for testing.

The split is fixed: stratified by class with seed 0. The 8x8 images with values 0..16 become size x size in 0..255.
"""

import numpy as np
import torch

from ddarts.data.images import ImageSet
from ddarts.data.memory import check_memory
from ddarts.data.specs import DataSpec

TEST_IMAGES = 360
_PIXEL_BYTES = 5  # float32 grey and its bytes, before these become three channels


def split_indices(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The fixed split: sorted indices of the training images and of the test images."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(len(labels)), test_size=TEST_IMAGES, random_state=0, stratify=labels)
    return np.sort(train), np.sort(test)


def load_digits(spec: DataSpec, split: str) -> ImageSet:
    """Digits as uint8 [N, 3, size, size], size being `spec.image_size`.

    DdartsError where `spec.image_size` asks for more memory than there is.
    At 32 pixels the bilinear weights are multiples of 1/64, exact in float32, so every machine gets the same bytes.
    """
    from sklearn import datasets

    source = datasets.load_digits()
    train, test = split_indices(source.target)
    chosen = train if split == "train" else test
    check_memory("digits", len(chosen), spec.image_size, pixel_bytes=_PIXEL_BYTES)
    grey = torch.from_numpy(source.images[chosen]).float()[:, None] * (255 / 16)
    size = (spec.image_size, spec.image_size)
    grey = torch.nn.functional.interpolate(grey, size=size, mode="bilinear", align_corners=False)
    grey = grey.round_().clamp_(0, 255).to(torch.uint8)
    images = grey.repeat(1, 3, 1, 1)
    labels = torch.from_numpy(source.target[chosen].astype(np.int64))
    return ImageSet(images, labels, tuple(str(name) for name in source.target_names), spec)
