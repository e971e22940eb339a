"""The one interface through which engines get batches, and the function that chooses an implementation."""

import logging
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from ddarts.data.augment import Augmentation
from ddarts.data.images import ImageSet
from ddarts.runtime.errors import DdartsError, UsageError

KINDS = ("auto", "resident", "torchvision")

_log = logging.getLogger(__name__)


class Loader(Protocol):
    """Batches of normalised images.

    The content of batch b of epoch e is a pure function of (seed, e, b): a run resumes by asking for the epoch and the
    batch where it stopped. No global random generator is read or changed.
    """

    batches_per_epoch: int

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches start, start + 1, ... of epoch `epoch`: images float32 [N, 3, H, W], labels int64 [N].

        Raises:
            ValueError: `epoch` is negative, or `start` is not in 0..batches_per_epoch.
        """
        ...


def batch_bounds(count: int, batch_size: int, drop_last: bool) -> list[tuple[int, int]]:
    """First and one-past-last position of every batch of an epoch of `count` images.

    With `drop_last` all batches have the same size; a set smaller than one batch is one batch, never none.
    """
    size = min(batch_size, count)
    stop = count - count % size if drop_last else count
    return [(first, min(first + size, count)) for first in range(0, stop, size)]


def check_position(epoch: int, start: int, batches: int) -> None:
    """Refuse an epoch or a first batch that does not exist."""
    if epoch < 0:
        raise ValueError(f"epoch {epoch}: must be 0 or more")
    if not 0 <= start <= batches:
        raise ValueError(f"batch {start}: an epoch has {batches} batches")


def make_loader(
    images: ImageSet,
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
) -> Loader:
    """A loader over `images`.

    Args:
        images: the set; kept as it is.
        batch_size: images per batch; a smaller set makes one batch of all its images.
        augmentation: what to do to each image; `Augmentation.none()` for evaluation.
        shuffle: a new order every epoch, or always the order of the set. Every image is shown at most once an epoch.
        seed: of the order and of the augmentation.
        kind: "resident" works on whole batches in memory; "torchvision" on single images, in `workers` processes;
            "auto" takes the resident one. Both yield the same images for the same seed.
        drop_last: leave out the images that do not fill a batch.
        device: where the batches are put.
        workers: processes of the torchvision loader; the resident one has no use for them.
        channels_last: yield images in torch's channels-last memory format.

    Raises:
        UsageError: an option's value is not allowed.
        DdartsError: the set is empty.
    """
    _check_options(images, batch_size, kind, workers)
    if shuffle and batch_size > len(images):
        _log.info("batch_size %d: the set has %d images, every batch holds all of them", batch_size, len(images))
    bounds = batch_bounds(len(images), batch_size, drop_last)
    common = (images, bounds, augmentation, shuffle, seed, torch.device(device), channels_last)
    if kind == "torchvision":
        from ddarts.data.torchvision import TorchvisionLoader

        return TorchvisionLoader(*common, workers=workers)
    from ddarts.data.resident import ResidentLoader

    if kind == "auto":
        size = images.images.numel() / 2**20
        reason = "resident (auto: the %d images of %s, %.0f MiB, are in memory)"
        _log.info("loader: " + reason, len(images), images.spec.name, size)
    return ResidentLoader(*common)


def _check_options(images: ImageSet, batch_size: int, kind: str, workers: int) -> None:
    if kind == "dali":
        raise UsageError("the DALI loader is not part of this version; use --loader resident or torchvision")
    if kind not in KINDS:
        raise UsageError(f"--loader {kind}: unknown loader, choose one of {', '.join(KINDS)}")
    if batch_size < 1:
        raise UsageError(f"--batch_size {batch_size}: must be 1 or more")
    if workers < 0:
        raise UsageError(f"workers {workers}: must be 0 or more")
    if len(images) == 0:
        raise DdartsError(f"{images.spec.name}: no image to load")
