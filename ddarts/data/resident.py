"""Whole-batch augmentation of a set that lies in memory: a few tensor operations a batch, no processes.

Legend: N images in the set, B in a batch, H and W their size, P padding, Hp = H + 2P and Wp = W + 2P.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from ddarts.data.augment import Augmentation, auto_augment_, cutout_mask
from ddarts.data.draws import Draws, plan_epoch
from ddarts.data.images import ImageSet
from ddarts.data.loader import check_position


class ResidentLoader:
    """Keeps the padded images in memory and gathers each batch from them in one go. See `loader.make_loader`."""

    def __init__(
        self,
        images: ImageSet,
        bounds: list[tuple[int, int]],
        augmentation: Augmentation,
        shuffle: bool,
        seed: int,
        device: torch.device,
        channels_last: bool,
    ) -> None:
        self.batches_per_epoch = len(bounds)
        self._bounds = bounds
        self._augmentation = augmentation
        self._shuffle = shuffle
        self._seed = seed
        self._device = device
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        # AutoAugment works on single images on the CPU; without it everything happens where the batches are wanted.
        self._store = torch.device("cpu") if augmentation.auto_augment else device
        self._height, self._width = images.images.shape[2:]
        self._crops = augmentation.padding > 0 or augmentation.flip
        pixels = pad(images.images, (augmentation.padding,) * 4) if augmentation.padding else images.images
        self._pixels = pixels.to(self._store).contiguous()
        self._labels = images.labels.to(self._store)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (images.spec.mean, images.spec.std))
        # (byte / 255 - mean) / std, as one multiplication and one addition
        # Whole planes in the batches' own format: broadcasting over three interleaved channels is six times slower
        planes = [values.expand(1, 3, self._height, self._width) for values in (1 / (255 * std), -mean / std)]
        self._scale, self._shift = (values.to(device).contiguous(memory_format=self._format) for values in planes)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """See `loader.Loader.epoch`."""
        check_position(epoch, start, self.batches_per_epoch)
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        count, height, width = len(self._pixels), self._height, self._width
        plan = plan_epoch(count, height, width, self._augmentation, self._shuffle, self._seed, epoch).to(self._store)
        for first, last in self._bounds[start:]:
            draws = plan[first:last]
            labels = self._labels[draws.index]
            yield self._finish(self._gather(draws), draws), labels.to(self._device)

    def _gather(self, draws: Draws) -> Tensor:
        """Crop and flip: uint8 [B, 3, H, W]."""
        if not self._crops:
            return self._pixels.index_select(0, draws.index)
        height, width = self._height, self._width
        padded_height, padded_width = self._pixels.shape[2:]
        plane = padded_height * padded_width
        # Half the index traffic where 32 bits reach every byte
        kind = torch.int32 if self._pixels.numel() < 2**31 else torch.int64
        column = torch.arange(width, device=self._store)
        column = torch.where(draws.flip[:, None], width - 1 - column, column)  # [B, W]
        row = torch.arange(height, device=self._store) * padded_width  # [H]
        corner = draws.index * (3 * plane) + draws.top * padded_width + draws.left  # [B]
        pixel = (corner[:, None, None] + row[:, None] + column[:, None, :]).to(kind)  # [B, H, W]
        channel = torch.arange(0, 3 * plane, plane, dtype=kind, device=self._store)
        where = pixel[:, None] + channel[:, None, None]
        return self._pixels.view(-1).index_select(0, where.view(-1)).view(where.shape)

    def _finish(self, batch: Tensor, draws: Draws) -> Tensor:
        """AutoAugment, normalise, cutout: float32 [B, 3, H, W] on the device."""
        augmentation = self._augmentation
        if augmentation.auto_augment:
            batch = auto_augment_(batch, draws.policy_seed, augmentation.auto_augment)
        # Reordered as bytes (a quarter of the traffic), and before the arithmetic
        images = batch.to(self._device).contiguous(memory_format=self._format).to(torch.float32)
        images.mul_(self._scale).add_(self._shift)
        if augmentation.cutout_length:
            rows, columns = draws.cut_row.to(self._device), draws.cut_column.to(self._device)
            mask = cutout_mask(rows, columns, augmentation.cutout_length, self._height, self._width)
            images.masked_fill_(mask, 0)
        return images
