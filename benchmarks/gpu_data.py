"""The DALI loader where the batches are wanted: on a GPU, or (--device cpu) without one. A step of `make gpu-check`.

    python benchmarks/gpu_data.py --device cuda

Small images from memory, and JPEG files that the `mixed` decoder decodes, are compared with what the torchvision loader
makes of the same draws on the CPU; an epoch is left and taken up again in its middle; batches are dropped while the GPU
is still to read them. Prints one JSON object: images a second, and the mean and the largest difference in steps of a
byte; the exit code is 1 where something differs.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ddarts_benchmarks.photographs import make_tree
from ddarts_benchmarks.pipelines import Case, image_set

from ddarts.data.augment import Augmentation
from ddarts.data.images import Images
from ddarts.data.loader import Loader, make_loader
from ddarts.runtime.availability import dali_problem

BATCH, BATCHES = 96, 4
DELAY = 200_000_000  # cycles of a GPU's clock, about 0.1 s
MEAN = {"memory": 0.01, "files": 2.0}  # steps of a byte: a GPU's JPEG decoder rounds otherwise than the CPU's
KINDS = {
    "memory": (Augmentation(cutout_length=16), Augmentation(auto_augment="cifar10", colour_jitter=True)),
    "files": (
        Augmentation.none(),
        Augmentation(padding=0, random_window=True, cutout_length=16),
        Augmentation(padding=0, random_window=True, auto_augment="imagenet", colour_jitter=True),
    ),
}


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(description="Check and time the DALI loader on a device.")
    parser.add_argument("--device", default="cuda")
    device = torch.device(parser.parse_args().device)
    problem = dali_problem()
    if problem:
        print(json.dumps({"left_out": problem}))
        return
    found, faults = {}, []
    with tempfile.TemporaryDirectory(prefix="gpu-data-") as folder:
        tree = make_tree(Path(folder), train=24, val=1, size=300)
        for source, augmentations in KINDS.items():
            images = image_set(Case(source, 32 if source == "memory" else 224, BATCH, BATCHES, 1), tree)
            for augmentation in augmentations:
                result = check(images, augmentation, device)
                name = f"{source}: {'AutoAugment and jitter' if augmentation.colour_jitter else 'crops'}"
                name = f"{source}: evaluation" if augmentation == Augmentation.none() else name
                found[name] = result
                # AutoAugment's equalization is another one in DALI, so there only resuming is compared.
                sound = result["resumes"] and result["read_late"]
                if not sound or (not augmentation.auto_augment and result["mean"] > MEAN[source]):
                    faults.append(name)
    print(json.dumps({"device": str(device), "faults": faults, "checked": found}))
    sys.exit(bool(faults))


def check(images: Images, augmentation: Augmentation, device: torch.device) -> dict[str, Any]:
    """Compare, resume and time one kind of batches."""

    def loader(kind: str, where: torch.device) -> Loader:
        options: dict[str, Any] = {"augmentation": augmentation, "shuffle": True, "seed": 0, "kind": kind}
        return make_loader(images, BATCH, device=where, **options)

    dali = loader("dali", device)
    whole = list(dali.epoch(0))
    resumed = list(loader("dali", device).epoch(0, start=2))
    std = torch.tensor(images.spec.std).view(1, 3, 1, 1)
    expected = next(loader("torchvision", torch.device("cpu")).epoch(0))[0]
    difference = (whole[0][0].cpu() - expected).abs() * std * 255
    started = time.perf_counter()
    shown = sum(len(labels) for _, labels in dali.epoch(1))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return {
        "images_per_second": round(shown / (time.perf_counter() - started)),
        "mean": float(difference.mean()),
        "largest": float(difference.max()),
        "resumes": all(torch.equal(a[0], b[0]) for a, b in zip(resumed, whole[2:], strict=True)),
        "read_late": _sums(dali.epoch(0), device) == [images.double().sum().item() for images, _ in whole],
    }


def _sums(batches: Iterator[tuple[torch.Tensor, torch.Tensor]], device: torch.device) -> list[float]:
    """The sum of each batch, which a GPU reads only after the loop has dropped it and asked for others."""
    sums = []
    for images, _ in batches:
        if device.type == "cuda":
            torch.cuda._sleep(DELAY)
        sums.append(images.double().sum())
        del images
    return [total.item() for total in sums]


if __name__ == "__main__":
    main()
