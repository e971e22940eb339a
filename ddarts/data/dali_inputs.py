"""What a DALI pipeline is fed for a batch: images as they are stored, and every number that says what to do to them.

Legend: B images in a batch, S side of a photograph as it is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ddarts.data import colour, decode
from ddarts.data.batches import Batches
from ddarts.data.draws import Draws
from ddarts.data.images import FileSet, ImageSet
from ddarts.data.pixels import framing


@dataclass(frozen=True)
class Inputs:
    """`arrays` go to DALI, in the order of `dali_pipelines.NUMBERS` after the images and their place; `labels` int64
    [B] wait here; `paths`: the files that the images came from, if any."""

    arrays: tuple
    labels: Tensor
    paths: Sequence[str] = ()

    def check(self) -> None:
        """Raise DdartsError for the first of the files that is not a readable image."""
        for path in self.paths:
            decode.check(path)


def memory_inputs(batches: Batches, draws: Draws) -> Inputs:
    """Images in memory: uint8 [B, 3, H, W], and the corner of the crop, which may lie outside."""
    assert isinstance(batches.images, ImageSet)
    corner = np.stack([draws.top.numpy(), draws.left.numpy()], axis=1).astype(np.int32) - batches.augmentation.padding
    pixels = batches.images.images[draws.image].permute(0, 2, 3, 1).contiguous().numpy()
    return Inputs((pixels, corner, *_numbers(batches, draws)), batches.images.labels[draws.image])


def file_inputs(batches: Batches, draws: Draws) -> Inputs:
    """Photographs: the bytes of the files, and what is shown of each, int32 [B, 8] (see `geometry.Geometry`)."""
    files = batches.images
    assert isinstance(files, FileSet)
    paths = [files.paths[index] for index in draws.image.tolist()]
    contents, geometries = [], []
    for path, draw in zip(paths, draws.rows(), strict=True):
        content, height, width = decode.encoded(path)
        contents.append(content)
        geometries.append(framing(height, width, draw, batches.augmentation, files.spec))
    shown = np.array(geometries, np.int32)
    return Inputs((contents, shown, *_numbers(batches, draws)), files.labels[draws.image], paths)


def _numbers(batches: Batches, draws: Draws) -> list[np.ndarray]:
    augmentation = batches.augmentation
    arrays = [draws.flip.numpy().astype(np.int32)]
    if augmentation.cutout_length:
        centre = np.stack([draws.cut_row.numpy(), draws.cut_column.numpy()], axis=1)
        arrays.append((centre - augmentation.cutout_length // 2).astype(np.float32))
    if augmentation.auto_augment:
        arrays.append(draws.policy.numpy().astype(np.int32))
    if augmentation.colour_jitter:
        arrays += colour.jitter_maps(draws.jitter.numpy())
    return arrays
