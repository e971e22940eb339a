"""The conventional loader: torch's DataLoader over single images, with torchvision's transforms, in worker processes.

The numbers behind every crop, flip and cutout are drawn in the main process and travel with the image's index, so the
result depends neither on the number of workers nor on which of them did the work.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms

from ddarts.data import colour, policies
from ddarts.data.batches import Batches
from ddarts.data.decode import photograph
from ddarts.data.draws import Draw, Draws
from ddarts.data.images import FileSet, ImageSet
from ddarts.data.loader import Loader
from ddarts.data.pixels import cutout_mask, frame, framing


class _Augmented(Dataset):
    """One augmented image for each draw: float32 [3, H, W], normalised, and its label."""

    def __init__(self, batches: Batches) -> None:
        self._images = batches.images
        self._augmentation = batches.augmentation
        self._size = batches.size

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        augmentation, spec = self._augmentation, self._images.spec
        image = self._cropped(draw)
        if draw.flip:
            image = transforms.horizontal_flip(image)
        if augmentation.auto_augment:
            image = policies.apply(image, draw.policy)
        if augmentation.colour_jitter:
            image = colour.jitter(image[None], torch.tensor([draw.jitter]))[0]
        image = transforms.to_dtype(image, torch.float32, scale=True)
        image = transforms.normalize(image, list(spec.mean), list(spec.std))
        if augmentation.cutout_length:
            centre = torch.tensor([draw.cut_row]), torch.tensor([draw.cut_column])
            image.masked_fill_(cutout_mask(*centre, augmentation.cutout_length, *self._size)[0], 0)
        return image, self._images.labels[draw.image]

    def _cropped(self, draw: Draw) -> Tensor:
        if isinstance(self._images, FileSet):
            image = photograph(self._images.paths[draw.image])
            geometry = framing(image.shape[1], image.shape[2], draw, self._augmentation, self._images.spec)
            return frame(image, geometry, self._images.spec.image_size)
        assert isinstance(self._images, ImageSet)
        image, padding = self._images.images[draw.image], self._augmentation.padding
        if padding:
            image = transforms.pad(image, [padding])
            image = transforms.crop(image, draw.top, draw.left, *self._size)
        return image


class _Positions:
    """A batch sampler: the draws of each batch, as plain numbers, because tensors sent to a worker process would each
    need a file descriptor."""

    def __init__(self, draws: Iterator[Draws]) -> None:
        self._draws = draws

    def __iter__(self) -> Iterator[list[Draw]]:
        for drawn in self._draws:
            yield drawn.rows()


class TorchvisionLoader(Loader):
    """Augments image by image, in `workers` processes (0: in this one). See `loader.make_loader`."""

    def __init__(self, batches: Batches, workers: int = 0) -> None:
        super().__init__(batches)
        self._workers = workers

    def _make(self, draws: Iterator[Draws]) -> Iterator[tuple[Tensor, Tensor]]:
        """Workers live as long as the returned iterator."""
        loader = DataLoader(
            _Augmented(self.batches),
            batch_sampler=_Positions(draws),
            num_workers=self._workers,
            pin_memory=self.batches.device.type == "cuda",
            # DataLoader seeds its workers from the global generator unless it is given another one
            generator=torch.Generator(),
        )
        for images, labels in loader:
            yield self.batches.place(images, labels)
