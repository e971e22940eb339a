"""Two ways of keeping images in memory, and of taking a cropped and mirrored batch out of them.

Legend: N images in the set, B in a batch, H and W their size, P padding, S side of a photograph as it is shown.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddarts.data.augment import Augmentation
from ddarts.data.decode import photograph
from ddarts.data.draws import Draws
from ddarts.data.geometry import shorter_side
from ddarts.data.images import FileSet, ImageSet
from ddarts.data.memory import check_memory
from ddarts.data.pixels import frame, framing

_LONGER = 1.5  # a photograph's longer side, in shorter ones, for the estimate of the memory


class Gather:
    """Images of one size, padded: a batch is one gather."""

    def __init__(self, images: ImageSet, augmentation: Augmentation, device: torch.device) -> None:
        self._device = device
        self._height, self._width = images.images.shape[2:]
        self._crops = augmentation.padding > 0 or augmentation.flip
        pixels = pad(images.images, (augmentation.padding,) * 4) if augmentation.padding else images.images
        self._pixels = pixels.to(device).contiguous()

    def __call__(self, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W]."""
        if not self._crops:
            return self._pixels.index_select(0, draws.image)
        height, width = self._height, self._width
        padded_height, padded_width = self._pixels.shape[2:]
        plane = padded_height * padded_width
        # Half the index traffic where 32 bits reach every byte
        kind = torch.int32 if self._pixels.numel() < 2**31 else torch.int64
        column = torch.arange(width, device=self._device)
        column = torch.where(draws.flip[:, None], width - 1 - column, column)  # [B, W]
        row = torch.arange(height, device=self._device) * padded_width  # [H]
        corner = draws.image * (3 * plane) + draws.top * padded_width + draws.left  # [B]
        pixel = (corner[:, None, None] + row[:, None] + column[:, None, :]).to(kind)  # [B, H, W]
        channel = torch.arange(0, 3 * plane, plane, dtype=kind, device=self._device)
        where = pixel[:, None] + channel[:, None, None]
        return self._pixels.view(-1).index_select(0, where.view(-1)).view(where.shape)


class Album:
    """Photographs, each decoded once and shrunk until its shorter side is what evaluation resizes it to."""

    def __init__(self, files: FileSet, augmentation: Augmentation, device: torch.device) -> None:
        self._augmentation, self._spec, self._device = augmentation, files.spec, device
        shorter = files.spec.val_resize or files.spec.image_size
        check_memory(f"{files.spec.name}, --loader resident", len(files), shorter, pixel_bytes=round(3 * _LONGER))
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            self._images = list(pool.map(lambda path: _shrunk(photograph(path), shorter).to(device), files.paths))

    def __call__(self, draws: Draws) -> Tensor:
        """uint8 [B, 3, S, S]."""
        size = self._spec.image_size
        batch = torch.empty(len(draws), 3, size, size, dtype=torch.uint8, device=self._device)
        for slot, draw in zip(batch, draws.rows(), strict=True):
            image = self._images[draw.image]
            geometry = framing(image.shape[1], image.shape[2], draw, self._augmentation, self._spec)
            shown = frame(image, geometry, size)
            slot.copy_(shown.flip(2) if draw.flip else shown)
        return batch


def _shrunk(image: Tensor, shorter: int) -> Tensor:
    from torchvision.transforms.v2 import functional as transforms

    height, width = image.shape[1:]
    if min(height, width) <= shorter:
        return image
    return transforms.resize(image, list(shorter_side(height, width, shorter)), antialias=True)
