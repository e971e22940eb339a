"""The command `ddarts evaluate`: accuracy of a trained network on the test images."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from os.path import isdir, isfile, join
from typing import Any

import torch

from ddarts.config import EvaluateConfig, validate
from ddarts.data.augment import Augmentation
from ddarts.data.datasets import load
from ddarts.data.images import ImageSet
from ddarts.data.loader import make_loader
from ddarts.genotype.schema import Cell, Genotype
from ddarts.network.counting import network_cost
from ddarts.network.model import DerivedNetwork
from ddarts.network.published import is_published, load_published
from ddarts.network.registry import architecture
from ddarts.network.stems import stem_for
from ddarts.network.weights import Description, fill, read_network
from ddarts.ops import use_backend
from ddarts.runtime import metrics
from ddarts.runtime.device import autocast, pick_device, resolve_precision
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.progress import Progress
from ddarts.runtime.torch_file import read_torch_weights

_log = logging.getLogger(__name__)
Batch = tuple[torch.Tensor, torch.Tensor]
README_CHANNELS = 16  # what the published evaluation script takes where nothing is said


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
    path = _weights_file(config.model_path or "")
    if is_published(path):
        found_weights = read_torch_weights(path)  # first: what is no file of weights needs no --arch
        images = _images(config, None)
        model = _asked_for(config, images.num_classes, "published").build()
        load_published(model, path, found_weights)
    else:
        weights, description = read_network(path)
        images = _images(config, description)
        model = _reconciled(config, description, images.num_classes).build()
        fill(model, weights, path)
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


def _weights_file(path: str) -> str:
    """`path`, or the best weights in it where it is a run folder. UsageError where a folder holds none."""
    if not isdir(path):
        return path
    best = join(path, "best.safetensors")
    if isfile(best):
        return best
    raise UsageError(
        f"--model_path {path}: this folder has no best.safetensors; "
        "give a run folder of ddarts train, or the file with the weights"
    )


def _images(config: EvaluateConfig, stored: Description | None) -> ImageSet:
    """The test images, in the size asked for, else in the size that the network was trained on."""
    size = config.image_size
    if size is None and stored is not None and stored.dataset == config.dataset:
        size = stored.image_size
    return load(config.dataset or "", config.data, "test", config.download, size)


def _measure(
    model: DerivedNetwork, images: ImageSet, config: EvaluateConfig, device: torch.device, cast: partial
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


def _asked_for(config: EvaluateConfig, num_classes: int, wiring: str) -> Description:
    """The network that the options alone describe."""
    if config.arch is None:
        raise UsageError(f"--model_path {config.model_path}: does not say its architecture; name it with --arch")
    return Description(
        architecture(config.arch, config.layers, config.derivation or "paper"),
        num_classes,
        config.init_channels or README_CHANNELS,
        stem_for(config.dataset or "", config.imagenet_stem),
        config.baseline_wiring or wiring,
    )


def _reconciled(config: EvaluateConfig, stored: Description | None, num_classes: int) -> Description:
    """The network that the file describes, after checking that the options do not ask for another."""
    if stored is None:
        return _asked_for(config, num_classes, "increasing")
    path = config.model_path
    if stored.dataset not in ("", config.dataset):
        _log.warning("%s: trained on %s, measured on %s", path, stored.dataset, config.dataset)
    if stored.num_classes != num_classes:
        raise DdartsError(
            f"{path}: these weights tell {stored.num_classes} classes apart"
            f"{f' ({stored.dataset})' if stored.dataset else ''}, but {config.dataset} has {num_classes}"
        )
    if config.arch is not None or config.layers is not None:
        _check_architecture(config, stored)
    options = {
        "init_channels": config.init_channels,
        "baseline_wiring": config.baseline_wiring,
        "imagenet_stem": None if config.imagenet_stem is None else stem_for(config.dataset or "", config.imagenet_stem),
    }
    found = {"init_channels": stored.init_channels, "baseline_wiring": stored.wiring, "imagenet_stem": stored.stem}
    for name, value in options.items():
        if value is not None and value != found[name]:
            what = f"the stem {found[name]}" if name == "imagenet_stem" else found[name]
            raise DdartsError(f"--{name} {getattr(config, name)}: the weights in {path} have {what}")
    return replace(stored, auxiliary=False)


def _check_architecture(config: EvaluateConfig, stored: Description) -> None:
    """Refuse weights of another architecture than --arch and --layers say."""
    layers = config.layers if config.layers is not None else stored.genotype.layers
    if config.arch is None:
        if layers != stored.genotype.layers:
            raise DdartsError(
                f"--layers {layers}: the weights in {config.model_path} have {stored.genotype.layers} cells"
            )
        return
    asked = architecture(config.arch)
    if layers > asked.layers and asked.sequence is None:
        asked = architecture(config.arch, layers, config.derivation or stored.derivation)
    if _structure(asked) != _structure(stored.genotype):
        raise DdartsError(
            f"--arch {config.arch}: the weights in {config.model_path} belong to another architecture, "
            f"'{stored.genotype.name}' with {stored.genotype.layers} cells; leave --arch out to use it"
        )


def _structure(genotype: Genotype) -> tuple[tuple[frozenset, ...], tuple[int, ...]]:
    """What makes two genotypes the same network: cells by position (their genes in any order), and the reductions."""
    cells: list[Cell] = [genotype.position(index) for index in range(genotype.layers)]
    return tuple(frozenset(cell) for cell in cells), genotype.reductions
