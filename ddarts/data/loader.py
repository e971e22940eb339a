"""The one interface through which engines get batches, and the function that chooses an implementation."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from ddarts.data.augment import Augmentation
from ddarts.data.batches import Batches
from ddarts.data.draws import Draws
from ddarts.data.images import Images, ImageSet
from ddarts.runtime.availability import dali_problem
from ddarts.runtime.errors import DdartsError, UsageError

KINDS = ("auto", "resident", "torchvision", "dali")

_log = logging.getLogger(__name__)


class Loader(ABC):
    """Batches of normalised images.

    The content of batch b of epoch e is a pure function of (seed, e, b): a run resumes by asking for the epoch and the
    batch where it stopped. No global random generator is read or changed.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.batches_per_epoch = len(batches.bounds)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches start, start + 1, ... of epoch `epoch`: images float32 [N, 3, H, W], labels int64 [N].

        Raises:
            ValueError: `epoch` is negative, or `start` is not in 0..batches_per_epoch.
        """
        if epoch < 0:
            raise ValueError(f"epoch {epoch}: must be 0 or more")
        if not 0 <= start <= self.batches_per_epoch:
            raise ValueError(f"batch {start}: an epoch has {self.batches_per_epoch} batches")
        return self._make(self.batches.draws(epoch, start))

    @abstractmethod
    def _make(self, draws: Iterator[Draws]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch for each of `draws`."""


def make_loader(
    images: Images,
    batch_size: int,
    *,
    augmentation: Augmentation,
    shuffle: bool,
    seed: int,
    kind: str = "auto",
    drop_last: bool = False,
    device: str | torch.device = "cpu",
    workers: int = 0,
    channels_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
    """A loader over `images`.

    Args:
        images: the set; kept as it is.
        batch_size: images per batch of one rank; a smaller set makes one batch of all its images.
        augmentation: what to do to each image; `Augmentation.none()` for evaluation.
        shuffle: a new order every epoch, or always the order of the set. Every image is shown at most once an epoch.
        seed: of the order and of the augmentation.
        kind: "resident" keeps all images decoded in memory; "dali" decodes and augments in NVIDIA DALI; "torchvision"
            works on single images in torch's DataLoader; "auto" is explained by `choose`. All of them show the same
            images for the same seed.
        drop_last: leave out the images that do not fill a batch of all ranks, so that all ranks have as many batches.
            Without it every image is shown exactly once an epoch, on any number of ranks.
        device: where the batches are put.
        workers: processes of the torchvision loader (0: none), threads of the DALI loader (0: as it thinks best).
        channels_last: yield images in torch's channels-last memory format.
        rank: which share of every batch to make, 0..world_size-1.
        world_size: how many ranks there are.

    Raises:
        UsageError: an option's value is not allowed, or DALI is wanted and not there.
        DdartsError: the set is empty.
    """
    _check_options(images, batch_size, kind, workers, rank, world_size)
    if shuffle and batch_size > len(images):
        _log.info("batch_size %d: the set has %d images, every batch holds all of them", batch_size, len(images))
    place = {"device": torch.device(device), "channels_last": channels_last, "rank": rank, "world_size": world_size}
    batches = Batches(images, batch_size, augmentation, shuffle, seed, drop_last, **place)  # type: ignore[arg-type]
    if kind == "auto":
        kind, reason = choose(images)
        _say_once(f"loader: {kind} (auto: {reason})")
    if kind == "resident":
        from ddarts.data.resident import ResidentLoader

        return ResidentLoader(batches)
    if kind == "dali":
        from ddarts.data.dali import DaliLoader

        return DaliLoader(batches, threads=workers)
    from ddarts.data.torchvision import TorchvisionLoader

    return TorchvisionLoader(batches, workers)


def choose(images: Images) -> tuple[str, str]:
    """The loader that is fastest for a set (`ddarts bench data` measures it), and why it is taken."""
    if isinstance(images, ImageSet):
        return "resident", "the images are in memory"
    problem = dali_problem()
    if problem is None:
        return "dali", "the images are decoded from their files each time they are shown"
    return "torchvision", problem


@cache
def _say_once(line: str) -> None:
    _log.info(line)


def _check_options(images: Images, batch_size: int, kind: str, workers: int, rank: int, world_size: int) -> None:
    if kind not in KINDS:
        raise UsageError(f"--loader {kind}: unknown loader, choose one of {', '.join(KINDS)}")
    if batch_size < 1:
        raise UsageError(f"--batch_size {batch_size}: must be 1 or more")
    if workers < 0:
        raise UsageError(f"workers {workers}: must be 0 or more")
    if not 0 <= rank < world_size:
        raise UsageError(f"rank {rank}: must be in 0..{world_size - 1}, there are {world_size} ranks")
    if len(images) == 0:
        raise DdartsError(f"{images.spec.name}: no image to load")
    problem = dali_problem() if kind == "dali" else None
    if problem:
        raise UsageError(f"--loader dali: {problem}")
