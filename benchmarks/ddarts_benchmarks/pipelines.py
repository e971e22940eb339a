"""The contestants of `bench data`: ways to get the same kind of training batches, from memory or from files.

Legend: N images, S side.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ddarts.data.augment import Augmentation
from ddarts.data.decode import thumbnail
from ddarts.data.folder import list_folder
from ddarts.data.images import FileSet, Images, ImageSet
from ddarts.data.loader import make_loader
from ddarts.data.pixels import cutout_mask
from ddarts.data.specs import SPECS, sized
from ddarts.runtime.availability import dali_problem

Batch = tuple[Tensor, Tensor]
Epoch = Callable[[int], Iterator[Batch]]
BASELINE = "dataloader"
CUTOUT = 16


@dataclass(frozen=True)
class Case:
    """Batches of one kind. source: `memory` (crop from a padded image, mirror, cutout) or `files` (JPEG: random
    window, mirror). batches: of a pass that is timed."""

    source: str
    side: int
    batch: int
    batches: int
    threads: int

    def __str__(self) -> str:
        return f"{self.source} {self.side}, batch {self.batch}, {self.threads} thread{'s'[: self.threads > 1]}"

    @property
    def images(self) -> int:
        """How many images a pass shows."""
        return self.batch * self.batches

    @property
    def augmentation(self) -> Augmentation:
        """What is done to them."""
        if self.source == "memory":
            return Augmentation(cutout_length=CUTOUT)
        return Augmentation(padding=0, random_window=True)


def contestants(case: Case) -> tuple[str, ...]:
    """Who takes part: torch's DataLoader as it is mostly written, our loader on top of it, the resident one for what
    lies in memory, and DALI where it is installed."""
    names = (BASELINE, "torchvision", *(["resident"] if case.source == "memory" else []))
    return names if dali_problem() else (*names, "dali")


def image_set(case: Case, tree: Path) -> Images:
    """The images: all files of `tree`, in memory as small ones, repeated until they fill a pass."""
    files = list_folder(sized(SPECS["folder"], 224), tree, "train")
    chosen = torch.arange(case.images) % len(files)
    if case.source == "files":
        return replace(files.subset(chosen), spec=sized(files.spec, case.side))
    pixels = torch.stack([torch.from_numpy(thumbnail(path, case.side)).permute(2, 0, 1) for path in files.paths])
    spec = replace(SPECS["folder"], image_size=case.side, num_classes=files.num_classes)
    return ImageSet(pixels, files.labels, files.class_names, spec).subset(chosen)


def epochs(name: str, case: Case, images: Images, device: torch.device) -> Epoch:
    """A function from the epoch's number to its batches, made in `case.threads` threads or processes."""
    if name == BASELINE:
        return _usual(case, images, device)
    workers = 0 if name == "resident" else case.threads
    loader = make_loader(
        images,
        case.batch,
        augmentation=case.augmentation,
        shuffle=True,
        seed=0,
        kind=name,
        device=device,
        workers=workers,
        drop_last=True,
    )
    return loader.epoch


class _Usual(Dataset):
    """Single images through torchvision's own transforms, as its documentation puts them together."""

    def __init__(self, images: Images, augmentation: Augmentation) -> None:
        from torchvision.transforms import v2

        size, spec = images.spec.image_size, images.spec
        end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(spec.mean), list(spec.std))]
        mirror = v2.RandomHorizontalFlip()
        if augmentation.random_window:
            self._transform = v2.Compose([v2.RandomResizedCrop(size, antialias=True), mirror, *end])
        else:
            self._transform = v2.Compose([v2.RandomCrop(size, padding=augmentation.padding), mirror, *end])
        self._images, self._cutout = images, augmentation.cutout_length

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Batch:
        images = self._images
        if isinstance(images, FileSet):
            from PIL import Image

            with Image.open(images.paths[index]) as source:
                shown = self._transform(source.convert("RGB"))
        else:
            shown = self._transform(images.images[index])
        if self._cutout:
            side = shown.shape[-1]
            row, column = torch.randint(side, (2, 1))
            shown = shown.masked_fill(cutout_mask(row, column, self._cutout, side, side)[0], 0)
        return shown, images.labels[index]


def _usual(case: Case, images: Images, device: torch.device) -> Epoch:
    loader = DataLoader(
        _Usual(images, case.augmentation),
        case.batch,
        shuffle=True,
        drop_last=True,
        num_workers=case.threads,
        pin_memory=device.type == "cuda",
    )

    def epoch(_number: int) -> Iterator[Batch]:
        for shown, labels in loader:
            yield shown.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    return epoch
