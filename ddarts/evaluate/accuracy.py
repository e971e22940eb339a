"""The command `ddarts evaluate`: accuracy of a trained network on the test images."""

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from ddarts.config import EvaluateConfig, validate
from ddarts.config.common import CLASS_FOLDERS
from ddarts.data.augment import Augmentation
from ddarts.data.census import moved_label
from ddarts.data.datasets import asked_for
from ddarts.data.images import Images
from ddarts.data.loader import make_loader
from ddarts.network.counting import network_cost
from ddarts.network.model import DerivedNetwork
from ddarts.network.registry import architecture
from ddarts.network.trained import Stored, Wanted, read_trained, reconciled
from ddarts.network.weights import Description
from ddarts.ops import use_backend
from ddarts.runtime import metrics
from ddarts.runtime.device import autocast, pick_device, resolve_precision
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.progress import Progress
from ddarts.space.stems import stem_for

_log = logging.getLogger(__name__)
Batch = tuple[torch.Tensor, torch.Tensor]


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Measure the weights in `config.model_path`, ours or published ones, on the test images.

    Returns top1 and top5 in percent, loss, params, macs and images. UsageError or DdartsError, in one line, where the
    weights and the options belong to different networks.
    """
    config = validate(config)
    with use_backend(config.backend):
        return _evaluate(config)


def _evaluate(config: EvaluateConfig) -> dict[str, Any]:
    device = pick_device(config.device)
    precision = resolve_precision(config.precision, config.amp, device.type)
    stored = read_trained(config.model_path or "")
    images = _images(config, stored.description)
    model = stored.put_into(reconciled(stored, _wanted(config, stored, images.num_classes)).build())
    found = _measure(model, images, config, device, partial(autocast, precision, device))
    counted = network_cost(
        model.genotype,
        model.num_classes,
        model.init_channels,
        stem=model.stem_name,
        wiring=model.wiring,
        image_size=images.spec.image_size,
    )
    shown = {"top1": found.top1, "top5": found.top5, "loss": found.loss}
    return {**shown, "params": counted.params, "macs": counted.macs, "images": found.images}


def _images(config: EvaluateConfig, stored: Description | None) -> Images:
    """The test images, in the size asked for, else in the size that the network was trained on."""
    if stored is None or _kind(stored.dataset) != _kind(config.dataset):
        return asked_for(config, "test")
    images = asked_for(config, "test", image_size=stored.image_size)
    moved = moved_label(stored.class_names, images.class_names)
    if moved and len(stored.class_names) == images.num_classes:
        label, then, now = moved
        raise DdartsError(
            f"{config.data}: label {label} is {now} here, and {then} for the weights in {config.model_path}: "
            "give the class folders their old names, or the weights' own --class_list"
        )
    return images


def _kind(dataset: str | None) -> str | None:
    """The data set; class folders may be read under either of two names."""
    return "class folders" if dataset in CLASS_FOLDERS else dataset


def _measure(
    model: DerivedNetwork, images: Images, config: EvaluateConfig, device: torch.device, cast: partial
) -> metrics.EvalResult:
    loader = make_loader(
        images,
        config.batch_size,
        augmentation=Augmentation.none(),
        shuffle=False,
        seed=0,
        kind=config.loader,
        device=device,
        workers=config.workers,
    )
    model.to(device).eval()

    def forward(batch: torch.Tensor) -> torch.Tensor:
        with cast():
            return model(batch)

    with Progress(loader.batches_per_epoch, "evaluate", report_freq=config.report_freq) as progress:
        return metrics.evaluate(forward, _counted(loader.epoch(0), progress))


def _counted(batches: Iterator[Batch], progress: Progress) -> Iterator[Batch]:
    """The batches; each counts as done when the next one is asked for."""
    for batch in batches:
        yield batch
        progress.advance()


def _wanted(config: EvaluateConfig, stored: Stored, num_classes: int) -> Wanted:
    """What the options say about the network, after checking that the weights tell the data set's classes apart."""
    found = stored.description
    if found is not None and found.dataset not in ("", config.dataset):
        _log.warning("%s: trained on %s, measured on %s", config.model_path, found.dataset, config.dataset)
    if found is not None and found.num_classes != num_classes:
        raise DdartsError(
            f"{config.model_path}: these weights tell {found.num_classes} classes apart"
            f"{f' ({found.dataset})' if found.dataset else ''}, but {config.dataset} has {num_classes}"
        )
    stem_told = found is None or config.imagenet_stem is not None
    return Wanted(
        None if config.arch is None else architecture(config.arch),
        config.layers,
        config.derivation,
        config.init_channels,
        num_classes,
        stem_for(config.dataset or "", config.imagenet_stem) if stem_told else None,
        config.baseline_wiring,
    )
