"""The conventional loader: torch's DataLoader over single images, with torchvision's transforms, in worker processes.

The numbers behind every crop, flip and cutout are drawn in the main process and travel with the image's index, so the
result depends neither on the number of workers nor on which of them did the work.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms

from ddarts.data.augment import Augmentation, auto_augment_, cutout_mask
from ddarts.data.draws import Draws, plan_epoch
from ddarts.data.images import ImageSet
from ddarts.data.loader import check_position

# index, top, left, flip, cut_row, cut_column, policy_seed: one position of a plan, as plain numbers because tensors
# sent to a worker process would each need a file descriptor
_Key = tuple[int, int, int, bool, int, int, int]


class _Augmented(Dataset):
    """One augmented image per key: float32 [3, H, W], normalised, and its label."""

    def __init__(self, images: ImageSet, augmentation: Augmentation) -> None:
        self._images = images
        self._augmentation = augmentation

    def __getitem__(self, key: _Key) -> tuple[Tensor, Tensor]:
        index, top, left, flip, cut_row, cut_column, policy_seed = key
        augmentation, spec = self._augmentation, self._images.spec
        image = self._images.images[index]
        height, width = image.shape[1:]
        if augmentation.padding:
            image = transforms.pad(image, [augmentation.padding])
            image = transforms.crop(image, top, left, height, width)
        if flip:
            image = transforms.horizontal_flip(image)
        if augmentation.auto_augment:
            image = auto_augment_(image.clone()[None], torch.tensor([policy_seed]), augmentation.auto_augment)[0]
        image = transforms.to_dtype(image, torch.float32, scale=True)
        image = transforms.normalize(image, list(spec.mean), list(spec.std))
        if augmentation.cutout_length:
            centre = torch.tensor([cut_row]), torch.tensor([cut_column])
            image.masked_fill_(cutout_mask(*centre, augmentation.cutout_length, height, width)[0], 0)
        return image, self._images.labels[index]


class _Positions:
    """A batch sampler: the keys of each batch."""

    def __init__(self, plan: Draws, bounds: list[tuple[int, int]]) -> None:
        self._plan = plan
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._bounds)

    def __iter__(self) -> Iterator[list[_Key]]:
        for first, last in self._bounds:
            yield self._plan[first:last].rows()


class TorchvisionLoader:
    """Augments image by image, in `workers` processes (0: in this one). See `loader.make_loader`."""

    def __init__(
        self,
        images: ImageSet,
        bounds: list[tuple[int, int]],
        augmentation: Augmentation,
        shuffle: bool,
        seed: int,
        device: torch.device,
        channels_last: bool,
        workers: int = 0,
    ) -> None:
        self.batches_per_epoch = len(bounds)
        self._images = images
        self._bounds = bounds
        self._augmentation = augmentation
        self._shuffle = shuffle
        self._seed = seed
        self._device = device
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._workers = workers

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """See `loader.Loader.epoch`. Workers live as long as the returned iterator."""
        check_position(epoch, start, self.batches_per_epoch)
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        height, width = self._images.images.shape[2:]
        plan = plan_epoch(len(self._images), height, width, self._augmentation, self._shuffle, self._seed, epoch)
        pin = self._device.type == "cuda"
        batches = DataLoader(
            _Augmented(self._images, self._augmentation),
            batch_sampler=_Positions(plan, self._bounds[start:]),
            num_workers=self._workers,
            pin_memory=pin,
            # DataLoader seeds its workers from the global generator unless it is given another one
            generator=torch.Generator(),
        )
        for images, labels in batches:
            images = images.to(self._device, memory_format=self._format, non_blocking=pin)
            yield images, labels.to(self._device, non_blocking=pin)
