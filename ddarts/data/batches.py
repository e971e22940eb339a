"""Which images make up which batch, and what is done to them: the one description that every loader takes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ddarts.data.augment import Augmentation
from ddarts.data.draws import Draws, plan_epoch
from ddarts.data.images import Images


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one rank (see `loader.make_loader` for the options).

    Together the ranks' batches number b are the b-th `batch_size * world_size` images of the epoch: the order does not
    know of ranks, and each position in it belongs to exactly one of them.
    """

    images: Images
    batch_size: int
    augmentation: Augmentation
    shuffle: bool
    seed: int
    drop_last: bool = False
    device: torch.device = torch.device("cpu")
    channels_last: bool = False
    rank: int = 0
    world_size: int = 1

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First and one-past-last position in the epoch of each of this rank's batches, none of them empty."""
        return batch_bounds(len(self.images), self.batch_size, self.drop_last, self.rank, self.world_size)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image as the network sees it."""
        pixels = getattr(self.images, "images", None)
        side = self.images.spec.image_size
        return (side, side) if pixels is None else (pixels.shape[2], pixels.shape[3])

    @property
    def format(self) -> torch.memory_format:
        """How an image batch lies in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def draws(self, epoch: int, start: int) -> Iterator[Draws]:
        """The random numbers of batches start, start + 1, … of an epoch."""
        plan = plan_epoch(len(self.images), *self.size, self.augmentation, self.shuffle, self.seed, epoch)
        for first, last in self.bounds[start:]:
            yield plan[first:last]

    def place(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A batch made in the host's memory, where it is wanted. Without waiting for the copy if it is pinned."""
        images = images.to(self.device, memory_format=self.format, non_blocking=True)
        return images, labels.to(self.device, non_blocking=True)


def batch_bounds(
    count: int, batch_size: int, drop_last: bool, rank: int = 0, world_size: int = 1
) -> list[tuple[int, int]]:
    """First and one-past-last position of every batch that `rank` takes of an epoch of `count` images.

    All ranks' batches together have batch_size * world_size images. What remains is left out with `drop_last`, else
    shared out as evenly as may be; a rank that gets nothing of it has one batch less. A set smaller than one batch of
    all ranks is one batch, shared out likewise.
    """
    whole = min(batch_size * world_size, count)
    stop = count - count % whole if drop_last else count
    bounds = []
    for first in range(0, stop, whole):
        share = min(whole, count - first)
        low, high = (first + share * r // world_size for r in (rank, rank + 1))
        if low < high:
            bounds.append((low, high))
    return bounds
