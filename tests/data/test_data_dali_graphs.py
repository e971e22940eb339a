"""The DALI pipelines for a GPU, as far as a machine without one can tell: their graphs, operator by operator."""

import pytest
import torch

from ddarts.data.augment import Augmentation
from ddarts.data.batches import Batches
from ddarts.data.images import FileSet, ImageSet
from ddarts.data.specs import SPECS
from ddarts.runtime.availability import dali_problem

pytestmark = pytest.mark.skipif(dali_problem() is not None, reason="DALI is not installed")
PIXELS = ("Slice", "Flip", "Resize", "WarpAffine", "Equalize", "CoordTransform", "CropMirrorNormalize", "Erase")


def _operators(images: ImageSet | FileSet, device: str, *, random_window: bool) -> set[tuple[str, str]]:
    """(name, device) of every operator of the pipeline with everything on."""
    from ddarts.data.dali_pipelines import file_pipeline, memory_pipeline

    everything = {"cutout_length": 4, "auto_augment": "imagenet", "colour_jitter": True}
    augmentation = Augmentation(padding=0 if random_window else 4, random_window=random_window, **everything)
    batches = Batches(images, 4, augmentation, True, 0, device=torch.device(device))
    define = file_pipeline if random_window else memory_pipeline
    pipeline = define(batches, lambda: (), batch_size=4, num_threads=1, device_id=0 if device == "cuda" else None)
    pipeline._build_graph()  # without a backend, which would look for the GPU
    found = {(node._op._schema.Name(), node._op._device) for node in pipeline._ops if hasattr(node._op, "_schema")}
    return found


def test_every_operator_exists_for_the_device_it_is_put_on(photo_set: ImageSet) -> None:
    from nvidia.dali import backend

    registered = {
        "cpu": backend.RegisteredCPUOps(),
        "gpu": backend.RegisteredGPUOps(),
        "mixed": backend.RegisteredMixedOps(),
    }
    files = FileSet(["a.jpg"] * 4, torch.zeros(4, dtype=torch.int64), ("a", "b"), SPECS["imagenet"])
    for images, random_window in ((photo_set, False), (files, True)):
        for device in ("cpu", "cuda"):
            for name, place in _operators(images, device, random_window=random_window):
                assert name in registered[place], (name, place)


def test_on_a_gpu_photographs_are_decoded_by_mixed_and_no_pixel_is_touched_on_the_cpu(photo_set: ImageSet) -> None:
    files = FileSet(["a.jpg"] * 4, torch.zeros(4, dtype=torch.int64), ("a", "b"), SPECS["imagenet"])
    found = _operators(files, "cuda", random_window=True) | _operators(photo_set, "cuda", random_window=False)
    assert ("decoders__ImageSlice", "mixed") in found
    for name in PIXELS:
        assert (name, "gpu") in found and (name, "cpu") not in found
