"""What is done to single images and to whole batches of them in torch. Legend: B images, H, W pixels, S side shown."""

import torch
from torch import Tensor

from ddarts.data import colour, policies
from ddarts.data.augment import Augmentation
from ddarts.data.batches import Batches
from ddarts.data.draws import Draw, Draws
from ddarts.data.geometry import Geometry, centre_crop, random_crop
from ddarts.data.specs import DataSpec


def framing(height: int, width: int, draw: Draw, augmentation: Augmentation, spec: DataSpec) -> Geometry:
    """What is shown of a photograph of height x width."""
    if augmentation.random_window:
        return random_crop(height, width, spec.image_size, draw.window)
    return centre_crop(height, width, spec.image_size, spec.val_resize or spec.image_size)


def frame(image: Tensor, geometry: Geometry, size: int) -> Tensor:
    """The S x S square of uint8 [3, H, W] that `geometry` describes: uint8 [3, S, S]."""
    from torchvision.transforms.v2 import functional as transforms

    top, left, height, width, to_height, to_width, square_top, square_left = geometry
    window = image[:, top : top + height, left : left + width]
    if (height, width) != (to_height, to_width):
        window = transforms.resize(window, [to_height, to_width], antialias=True)
    return window[:, square_top : square_top + size, square_left : square_left + size]


def recolour(images: Tensor, draws: Draws, augmentation: Augmentation) -> Tensor:
    """AutoAugment and colour jitter of uint8 [B, 3, H, W]; in place where that is possible."""
    if augmentation.auto_augment:
        for image, steps in zip(images, draws.policy.tolist(), strict=True):
            image.copy_(policies.apply(image, steps))
    return colour.jitter(images, draws.jitter) if augmentation.colour_jitter else images


class Finish:
    """From bytes to what the network takes: normalise, then cutout."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._height, self._width = batches.size
        spec = batches.images.spec
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        # (byte / 255 - mean) / std, as one multiplication and one addition
        # Whole planes in the batches' own format: broadcasting over three interleaved channels is six times slower
        planes = [values.expand(1, 3, self._height, self._width) for values in (1 / (255 * std), -mean / std)]
        self._scale, self._shift = (
            values.to(batches.device).contiguous(memory_format=batches.format) for values in planes
        )

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """uint8 [B, 3, H, W] and int64 [B] → float32 and int64 of these shapes, on the batches' device."""
        # Reordered as bytes (a quarter of the traffic), and before the arithmetic
        images, labels = self._batches.place(images, labels)
        images = images.to(torch.float32, memory_format=torch.preserve_format)
        images.mul_(self._scale).add_(self._shift)
        length = self._batches.augmentation.cutout_length
        if length:
            rows, columns = draws.cut_row.to(images.device), draws.cut_column.to(images.device)
            images.masked_fill_(cutout_mask(rows, columns, length, self._height, self._width), 0)
        return images, labels


def cutout_mask(rows: Tensor, columns: Tensor, length: int, height: int, width: int) -> Tensor:
    """Where the cutout squares lie: bool [B, 1, height, width], True inside.

    A square has side `length` and starts length // 2 above and left of its centre (`rows`, `columns`: int64 [B]); what
    falls off the image is lost, so squares near a border are smaller.
    """
    y = torch.arange(height, device=rows.device) - (rows[:, None] - length // 2)
    x = torch.arange(width, device=rows.device) - (columns[:, None] - length // 2)
    inside_y, inside_x = (y >= 0) & (y < length), (x >= 0) & (x < length)
    return (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
