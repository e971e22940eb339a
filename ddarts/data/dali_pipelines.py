"""The DALI pipelines: graphs of operators, defined once and then run batch after batch.

On the CPU where `device_id` is None; on a GPU photographs are decoded by the `mixed` decoder and everything after
it runs there. Legend: H, W pixels of an image as DALI has it (H, W, 3), S side of a photograph as it is shown.
"""

from collections.abc import Callable
from typing import Any

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.pipeline import do_not_convert

from ddarts.data.augment import Augmentation
from ddarts.data.batches import Batches
from ddarts.data.colour import GREY
from ddarts.data.dali_policies import apply_policy

Node = Any  # DALI has no name of its own for what a graph is made of
Source = Callable[[], tuple]


@pipeline_def(enable_conditionals=True)
def memory_pipeline(batches: Batches, source: Source) -> Node:
    """Images in memory, cropped from a black border: normalised float32 [3, H, W]."""
    described = _described(batches.augmentation, types.UINT8, 3, "HWC")
    pixels, corner, *numbers = fn.external_source(source=source, batch=True, **described)
    images = fn.slice(
        _placed(batches, pixels),
        start=corner,
        shape=list(batches.size),
        axes=(0, 1),
        out_of_bounds_policy="pad",
        fill_values=0,
    )
    return _finished(batches, images, numbers)


@pipeline_def(enable_conditionals=True)
def file_pipeline(batches: Batches, source: Source) -> Node:
    """Photographs, decoded, resized and cropped: normalised float32 [3, S, S]."""
    described = _described(batches.augmentation, types.UINT8, 1, None)
    content, geometry, *numbers = fn.external_source(source=source, batch=True, **described)
    images = fn.decoders.image_slice(
        content,
        start=geometry[0:2],
        shape=geometry[2:4],
        axes=(0, 1),
        device="mixed" if batches.device.type == "cuda" else "cpu",
        output_type=types.RGB,
        jpeg_fancy_upsampling=True,  # as Pillow does
        adjust_orientation=False,  # likewise
    )
    size = fn.cast(geometry[4:6], dtype=types.FLOAT)
    images = fn.resize(images, size=size, interp_type=types.INTERP_LINEAR, antialias=True, dtype=types.UINT8)
    side = batches.images.spec.image_size
    images = fn.slice(images, start=geometry[6:8], shape=[side, side], axes=(0, 1))
    return _finished(batches, images, numbers)


@do_not_convert
def _described(augmentation: Augmentation, kind: Any, ndim: int, layout: str | None) -> dict[str, Any]:
    """Type, dimensions and layout of what `dali_inputs` makes of a batch, in its order."""
    described = [(kind, ndim, layout), (types.INT32, 1, None), (types.INT32, 0, None)]  # images, place, flip
    if augmentation.cutout_length:
        described.append((types.FLOAT, 1, None))
    if augmentation.auto_augment:
        described.append((types.INT32, 2, None))
    if augmentation.colour_jitter:
        described += [(types.FLOAT, 2, None), (types.FLOAT, 0, None)]
    kinds, dims, layouts = (list(column) for column in zip(*described, strict=True))
    return {"dtype": kinds, "ndim": dims, "layout": layouts, "num_outputs": len(kinds)}


def _placed(batches: Batches, node: Node) -> Node:
    return node.gpu() if batches.device.type == "cuda" else node


def _finished(batches: Batches, images: Node, numbers: list[Node]) -> Node:
    """Flip, AutoAugment, colour jitter, normalise, cutout."""
    augmentation, spec, waiting = batches.augmentation, batches.images.spec, iter(numbers)
    flip = next(waiting)
    corner = next(waiting) if augmentation.cutout_length else None
    if augmentation.auto_augment:
        images = apply_policy(fn.flip(images, horizontal=flip), next(waiting), batches.size)
        flip = 0
    if augmentation.colour_jitter:
        images = _jittered(batches, images, next(waiting), next(waiting))
    images = fn.crop_mirror_normalize(
        images,
        mirror=flip,
        mean=[255 * value for value in spec.mean],
        std=[255 * value for value in spec.std],
        dtype=types.FLOAT,
        output_layout="HWC" if batches.channels_last else "CHW",
    )
    if corner is None:
        return images
    length = augmentation.cutout_length
    return fn.erase(images, anchor=corner, shape=[length, length], axis_names="HW", fill_value=0)


def _jittered(batches: Batches, images: Node, matrix: Node, lift: Node) -> Node:
    """See `colour`."""
    mean = fn.reductions.mean(images, axes=(0, 1), keep_dims=True)
    grey = fn.coord_transform(mean, M=list(GREY))
    turned = fn.coord_transform(images, M=matrix, dtype=types.FLOAT)
    return fn.cast(turned + grey * _placed(batches, lift), dtype=types.UINT8)
