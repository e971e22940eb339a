"""All random numbers of the data: each is a pure function of the seed and of what it is for.

A run that stops and starts again needs no generator state, loaders agree with each other, and torch's and numpy's
global generators stay untouched. An epoch of N images is planned as a whole (a few milliseconds for 60,000 images);
numbers belong to positions in the epoch, so neither the batch size nor the number of ranks changes them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddarts.data import geometry, policies
from ddarts.data.augment import Augmentation

_STREAMS = ("halves", "order", "crop", "flip", "cutout", "policy", "folder", "window", "jitter")


def generator(seed: int, stream: str, *words: int) -> np.random.Generator:
    """An independent generator for one purpose: `stream` names it, `words` count within it (all >= 0)."""
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(1 + _STREAMS.index(stream), *words))
    return np.random.Generator(np.random.PCG64(sequence))


class Draw(NamedTuple):
    """The numbers of one image, as plain numbers and lists; the fields are those of `Draws`."""

    image: int
    top: int
    left: int
    flip: bool
    cut_row: int
    cut_column: int
    policy: list[list[int]]
    window: list[float]
    jitter: list[float]


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers for N images in the order in which they are shown; int64 where nothing else is said.

    Attributes:
        image: which one, [N].
        top, left: corner of the crop within the padded image, 0..2*padding, [N].
        flip: whether to mirror, bool [N].
        cut_row, cut_column: the pixel at the centre of the cutout square, [N].
        policy: AutoAugment's choices, see `policies.choose`, [N, 2, 3], or [N, 0] without AutoAugment.
        window: for `geometry.random_crop`, float32 [N, 22], or [N, 0] where the window is not random.
        jitter: for `colour.jitter`, float32 [N, 4], or [N, 0] without colour jitter.
    """

    image: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor
    cut_row: Tensor
    cut_column: Tensor
    policy: Tensor
    window: Tensor
    jitter: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, part: slice) -> "Draws":
        return Draws(*(getattr(self, name)[part] for name in Draw._fields))

    def rows(self) -> list[Draw]:
        """One by one."""
        return [Draw(*row) for row in zip(*(getattr(self, name).tolist() for name in Draw._fields), strict=True)]

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on `device`."""
        return Draws(*(getattr(self, name).to(device) for name in Draw._fields))


def plan_epoch(
    count: int, height: int, width: int, augmentation: Augmentation, shuffle: bool, seed: int, epoch: int
) -> Draws:
    """The numbers for epoch `epoch` over `count` images that the network sees at height x width.

    Each kind of number has its own stream: turning one augmentation on does not change what the others do.
    """

    def stream(name: str) -> np.random.Generator:
        return generator(seed, name, epoch)

    order = stream("order").permutation(count) if shuffle else np.arange(count)
    crop = stream("crop").integers(0, 2 * augmentation.padding + 1, size=(2, count))
    flip = stream("flip").random(count) < (0.5 if augmentation.flip else 0.0)
    centre = stream("cutout").integers(0, [[height], [width]], size=(2, count))
    policy = window = jitter = np.empty((count, 0), np.float32)
    if augmentation.auto_augment:
        policy = policies.choose(augmentation.auto_augment, count, stream("policy"))
    if augmentation.random_window:
        window = stream("window").random((count, geometry.NUMBERS), np.float32)
    if augmentation.colour_jitter:
        jitter = 2 * stream("jitter").random((count, 4), np.float32) - 1
    return Draws(*(torch.from_numpy(values) for values in (order, *crop, flip, *centre, policy, window, jitter)))
