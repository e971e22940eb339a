"""All random numbers of the data: each is a pure function of the seed and of what it is for.

A run that stops and starts again needs no generator state, loaders agree with each other, and torch's and numpy's
global generators stay untouched. An epoch of N images is planned as a whole (a few milliseconds for 60,000 images);
numbers belong to positions in the epoch, so the batch size does not change them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddarts.data.augment import Augmentation

_STREAMS = {"halves": 1, "order": 2, "crop": 3, "flip": 4, "cutout": 5, "policy": 6, "folder": 7}


def generator(seed: int, stream: str, *words: int) -> np.random.Generator:
    """An independent generator for one purpose: `stream` names it, `words` count within it (all >= 0)."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(_STREAMS[stream], *words))
    return np.random.Generator(np.random.PCG64(sequence))


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers for N images in the order in which they are shown; every field is int64 [N] (flip: bool).

    Attributes:
        index: which image.
        top, left: corner of the crop within the padded image, 0..2*padding.
        flip: whether to mirror.
        cut_row, cut_column: the pixel at the centre of the cutout square.
        policy_seed: seed for AutoAugment's own choices.
    """

    index: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    cut_row: Tensor
    cut_column: Tensor
    policy_seed: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, part: slice) -> "Draws":
        return Draws(*(getattr(self, name)[part] for name in self.__dataclass_fields__))

    def rows(self) -> list[tuple]:
        """One tuple of plain numbers per image, in the order of the fields."""
        return list(zip(*(getattr(self, name).tolist() for name in self.__dataclass_fields__), strict=True))

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on `device`."""
        return Draws(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def plan_epoch(
    count: int, height: int, width: int, augmentation: Augmentation, shuffle: bool, seed: int, epoch: int
) -> Draws:
    """The numbers for epoch `epoch` over `count` images of height x width.

    Each kind of number has its own stream: turning one augmentation on does not change what the others do.
    """
    order = generator(seed, "order", epoch).permutation(count) if shuffle else np.arange(count)
    crop = generator(seed, "crop", epoch).integers(0, 2 * augmentation.padding + 1, size=(2, count))
    flip = generator(seed, "flip", epoch).random(count) < (0.5 if augmentation.flip else 0.0)
    centre = generator(seed, "cutout", epoch).integers(0, [[height], [width]], size=(2, count))
    policy = generator(seed, "policy", epoch).integers(0, 2**32, size=count)
    return Draws(*(torch.from_numpy(values) for values in (order, *crop, flip, *centre, policy)))
