"""Real pixels for the data tests: the two photographs that ship with scikit-learn, and its digits."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddarts.data.images import ImageSet
from ddarts.data.specs import SPECS


@pytest.fixture(scope="session")
def photos() -> np.ndarray:
    """240 crops of 32x32 from the photographs, uint8 [240, 3, 32, 32], no two alike."""
    from sklearn.datasets import load_sample_images

    crops = []
    for image in load_sample_images().images:
        for number in range(120):
            top, left = divmod(number, 15)
            crops.append(image[top * 40 : top * 40 + 32, left * 40 : left * 40 + 32].transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(crops))


@pytest.fixture(scope="session")
def photo_set(photos: np.ndarray) -> ImageSet:
    """The crops as a set with CIFAR-10's statistics; labels 0..9 in turn."""
    spec = SPECS["cifar10"]
    names = tuple("abcdefghij")
    return ImageSet(torch.from_numpy(photos), torch.arange(len(photos)) % 10, names, spec)


@pytest.fixture(scope="session")
def make_set() -> Callable[..., ImageSet]:
    """A set of given images with mean 0 and standard deviation 1, so that batches hold pixels / 255."""

    def make(images: torch.Tensor) -> ImageSet:
        spec = replace(SPECS["cifar10"], mean=(0.0,) * 3, std=(1.0,) * 3, image_size=images.shape[-1])
        return ImageSet(images, torch.arange(len(images)) % 10, tuple("abcdefghij"), spec)

    return make
