"""Images that lie decoded in memory: a few tensor operations a batch, no files, no processes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ddarts.data.batches import Batches
from ddarts.data.draws import Draws
from ddarts.data.images import FileSet, ImageSet
from ddarts.data.loader import Loader
from ddarts.data.pixels import Finish, recolour
from ddarts.data.stores import Album, Gather


class ResidentLoader(Loader):
    """Takes each batch out of memory in one go. See `loader.make_loader`."""

    def __init__(self, batches: Batches) -> None:
        super().__init__(batches)
        images, augmentation = batches.images, batches.augmentation
        # AutoAugment works on single images on the CPU; without it everything happens where the batches are wanted.
        self._place = torch.device("cpu") if augmentation.auto_augment else batches.device
        self._labels = images.labels.to(self._place)
        self._store: Gather | Album
        if isinstance(images, FileSet):
            self._store = Album(images, augmentation, self._place)
        else:
            assert isinstance(images, ImageSet)
            self._store = Gather(images, augmentation, self._place)
        self._finish = Finish(batches)

    def _make(self, draws: Iterator[Draws]) -> Iterator[tuple[Tensor, Tensor]]:
        for drawn in draws:
            here = drawn.to(self._place)
            images = recolour(self._store(here), here, self.batches.augmentation)
            yield self._finish(images, self._labels[here.image], here)
