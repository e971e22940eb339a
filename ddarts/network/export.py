"""The command `ddarts export`: a network as a file for other programs, checked against the network itself."""

import logging
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddarts.config import ExportConfig, validate
from ddarts.data.augment import Augmentation
from ddarts.data.datasets import load
from ddarts.data.loader import make_loader
from ddarts.data.specs import SPECS
from ddarts.network.formats import FORMATS, Run, check_packages
from ddarts.network.model import DerivedNetwork
from ddarts.network.registry import CLASSES, architecture, channels
from ddarts.network.trained import Wanted, read_trained, reconciled
from ddarts.network.weights import Description, describe
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.files import TEMPORARY, sync_folder
from ddarts.space.stems import stem_for

_log = logging.getLogger(__name__)
RANDOM, REAL = 5, 32  # images of the two checks; neither is the number that the file was made with
EXAMPLE = 2
TOLERANCE = 1e-4  # of the largest logit


def export(config: ExportConfig) -> dict[str, Any]:
    """Write the network that `config` names, read the file back, and compare what both compute.

    Returns path, format, bytes, max_difference (of any logit, over all images of the two checks), and the two parts,
    max_difference_random and max_difference_real. DdartsError, and no file, where it is larger than 1e-4 of
    the largest logit, and where a package is missing; UsageError as `reconciled` and where the file exists.
    """
    config = validate(config)
    form = config.form
    check_packages(form)
    path = None if config.output is None else Path(config.output)
    model, found = _network(config)
    path = path or Path(re.sub(r"[^\w.+-]", "_", found.genotype.name).lstrip(".") + f".{form}")
    if path.exists():
        raise UsageError(f"--output {path}: is there already; choose another name")
    size = config.image_size or found.image_size or SPECS["cifar10" if found.stem == "cifar" else "imagenet"].image_size
    checks = {"random": _random(size), "real": _real(config, size)}
    notes = _notes(model, replace(found, image_size=size))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=path.parent) as folder:
            made = Path(folder) / path.name
            FORMATS[form].write(model, torch.zeros(EXAMPLE, 3, size, size), notes, made)
            differences = _differences(model, FORMATS[form].run(made), checks, path)
            os.link(made, path)  # unlike a rename, never over a file that has come meanwhile
        sync_folder(path.parent)
    except OSError as error:
        raise DdartsError(f"{path}: cannot be written: {error.strerror or error}") from error
    named = {f"max_difference_{name}": value for name, value in differences.items()}
    worst = max(differences.values())
    return {"path": str(path), "format": form, "max_difference": worst, **named, "bytes": path.stat().st_size}


def _network(config: ExportConfig) -> tuple[DerivedNetwork, Description]:
    """The network in evaluation mode, and what it is."""
    genotype = None if config.arch is None else architecture(config.arch)
    stem = None if config.imagenet_stem is None else stem_for("imagenet", config.imagenet_stem)
    if config.model_path is not None:
        stored = read_trained(config.model_path)
        options = (config.derivation, config.init_channels, config.num_classes, stem, config.baseline_wiring)
        found = reconciled(stored, Wanted(genotype, config.layers, *options))
        return stored.put_into(found.build()), found
    _log.warning("no --model_path: the weights are untrained")
    found = Description(
        architecture(config.arch or "", config.layers, config.derivation or "paper"),
        config.num_classes or CLASSES,
        channels(config.arch or "", config.init_channels),
        stem or "cifar",
        config.baseline_wiring or "increasing",
    )
    return found.build().eval(), found


def _notes(model: DerivedNetwork, found: Description) -> dict[str, str]:
    """What the file says about itself: the network, and how its images are normalised, where that is known."""
    notes = describe(model, found.dataset, found.derivation, found.image_size, found.class_names)
    if found.dataset in SPECS:
        spec = SPECS[found.dataset]
        notes.update({name: ",".join(map(str, values)) for name, values in (("mean", spec.mean), ("std", spec.std))})
    return notes


def _random(size: int) -> Tensor:
    return torch.randn(RANDOM, 3, size, size, generator=torch.Generator().manual_seed(0))


def _real(config: ExportConfig, size: int) -> Tensor:
    """The first test images of the data set, normalised."""
    images = load(config.dataset or "", config.data, "test", config.download, size)
    loader = make_loader(images, REAL, augmentation=Augmentation.none(), shuffle=False, seed=0, kind="resident")
    return next(iter(loader.epoch(0)))[0]


@torch.no_grad()
def _differences(model: DerivedNetwork, run: Run, checks: dict[str, Tensor], path: Path) -> dict[str, float]:
    found = {}
    for name, images in checks.items():
        expected = model(images)
        found[name] = (run(images) - expected).abs().max().item()
        allowed = TOLERANCE * expected.abs().max().item()
        if not found[name] <= allowed:
            raise DdartsError(
                f"{path}: not written: what it computes of {name} images differs from the network by "
                f"{found[name]:.2g}, and {allowed:.2g} is allowed"
            )
    return found
