"""A labelled set of images, in memory or as files: what every reader makes and every loader takes.

Shapes: N images, H height, W width; three channels, RGB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddarts.data.specs import DataSpec
from ddarts.runtime.errors import DdartsError


@dataclass(frozen=True, eq=False)
class FileSet:
    """Photographs of any size in files, decoded each time they are shown.

    Attributes:
        paths: of the files, N.
        labels: int64 [N], each in 0..num_classes-1.
        class_names: one name per class, in the order of the labels.
        spec: facts about the data set, with the number of classes it really has.

    Raises:
        DdartsError: labels that do not fit.
    """

    paths: Sequence[str]
    labels: Tensor
    class_names: tuple[str, ...]
    spec: DataSpec

    def __post_init__(self) -> None:
        _check_fit(self.labels, len(self.paths), self.num_classes, self.spec.name)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not each has an image here."""
        return len(self.class_names)

    def subset(self, indices: Tensor) -> "FileSet":
        """The files at `indices` (int64 [M]), in that order."""
        paths = [self.paths[index] for index in indices.tolist()]
        return FileSet(paths, self.labels[indices], self.class_names, self.spec)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: int64 [N], each in 0..num_classes-1.
        class_names: one name per class, in the order of the labels.
        spec: facts about the data set, with the image size and number of classes it really has.

    Raises:
        DdartsError: a shape, type or label that does not fit.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    spec: DataSpec

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            found = f"{self.images.dtype} {tuple(self.images.shape)}"
            raise DdartsError(f"{self.spec.name}: images must be uint8 [N, 3, H, W], found {found}")
        _check_fit(self.labels, len(self.images), self.num_classes, self.spec.name)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not each has an image here."""
        return len(self.class_names)

    def subset(self, indices: Tensor) -> "ImageSet":
        """A copy of the images at `indices` (int64 [M]), in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.class_names, self.spec)


Images = ImageSet | FileSet


def _check_fit(labels: Tensor, count: int, num_classes: int, where: str) -> None:
    if labels.dtype != torch.int64 or labels.shape != (count,):
        found = f"{labels.dtype} {tuple(labels.shape)} for {count} images"
        raise DdartsError(f"{where}: labels must be int64 [N], found {found}")
    check_labels(labels.numpy(), num_classes, where)


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Refuse labels outside 0..num_classes-1.

    Raises:
        DdartsError: names `where` (a file), the first wrong label and its index.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        at = int(wrong[0])
        raise DdartsError(f"{where}: label {int(labels[at])} at image {at} is outside 0..{num_classes - 1}")


def one_line(error: Exception) -> str:
    """What a library said about a file, short enough for a one-line message."""
    return " ".join(str(error).split())[:200]
