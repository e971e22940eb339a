"""From a configuration to everything one training needs: data, network, optimizer, the step."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ddarts.config import TrainConfig
from ddarts.data.augment import Augmentation, training_augmentation
from ddarts.data.census import census
from ddarts.data.datasets import asked_for
from ddarts.data.images import Images
from ddarts.data.loader import Loader, make_loader
from ddarts.genotype.liveness import dead_cells_remark
from ddarts.genotype.schema import Genotype
from ddarts.network.counting import NetworkCost, network_cost
from ddarts.network.execution import choose, exact_channels_last
from ddarts.network.model import DerivedNetwork
from ddarts.network.registry import architecture, channels
from ddarts.network.wiring import wired
from ddarts.runtime.device import autocast, make_scaler, memory_format, pick_device, resolve_precision
from ddarts.runtime.errors import UsageError
from ddarts.runtime.graphs import GraphedForward
from ddarts.runtime.loss_scale import LossScale
from ddarts.runtime.ranks.group import Group, single
from ddarts.runtime.ranks.launch import make_engine
from ddarts.runtime.ranks.saving import own_generators
from ddarts.runtime.seeds import seed_all
from ddarts.space.stems import stem_for
from ddarts.train.average import MovingAverage
from ddarts.train.deepspeed import DeepSpeedStepper
from ddarts.train.optimizer import make_optimizer
from ddarts.train.step import Stepper

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainData:
    """Augmented training images, and test images as they are."""

    train: Loader
    test: Loader
    num_classes: int
    image_size: int
    census: dict[str, Any]  # of the training images


@dataclass(frozen=True)
class Trainer:
    """All that a training steps and saves. `activations`: numbers that a step keeps of every image."""

    model: DerivedNetwork
    stepper: Stepper
    average: MovingAverage[DerivedNetwork] | None
    cost: NetworkCost
    device: torch.device
    autocast: Callable
    activations: int


@dataclass(frozen=True)
class Setting:
    """Which network trains, where, and how it runs there: `fused` or `plain`, and then why."""

    genotype: Genotype
    group: Group
    precision: str
    execution: str
    reason: str | None
    layout: torch.memory_format


def settle(config: TrainConfig, group: Group | None = None) -> Setting:
    """What the options and this machine make of each other. UsageError, DdartsError: what is wrong."""
    group = group or single(pick_device(config.device))
    device = group.device
    if config.cuda_graphs and (device.type != "cuda" or group.size > 1):
        raise UsageError("--cuda_graphs: needs a GPU, and one alone: leave it out here")
    precision = resolve_precision(config.precision, config.amp, device.type)
    genotype = architecture(config.arch or "", config.layers, config.derivation)
    execution, reason = choose(genotype, device, compiled=config.compile)
    layout = torch.contiguous_format
    if config.channels_last:
        layout = memory_format(precision, device, dilated=not exact_channels_last(genotype, execution))
    return Setting(genotype, group, precision, execution, reason, layout)


def build(config: TrainConfig, group: Group | None = None) -> tuple[TrainData, Trainer]:
    """Data and network of this rank on its device, initialised from the seed. UsageError, DdartsError: what is
    wrong."""
    setting = settle(config, group)
    remark = dead_cells_remark(wired(setting.genotype, config.baseline_wiring))
    if remark:
        _log.warning(remark)
    because = f" ({setting.reason})" if setting.reason else ""
    _log.info("derived network: %s execution%s", setting.execution, because)
    with setting.group.first_goes_first():
        data = build_data(config, setting.group.device, setting.layout, setting.group)
    return data, build_trainer(config, setting, data.num_classes, data.image_size)


def build_trainer(config: TrainConfig, setting: Setting, num_classes: int, image_size: int) -> Trainer:
    """The network for images of `num_classes` classes, and all that steps it."""
    genotype, group = setting.genotype, setting.group
    device = group.device
    width = channels(config.arch or "", config.init_channels)
    stem = stem_for(config.dataset or "", config.imagenet_stem)
    seed_all(config.seed)
    model = DerivedNetwork(genotype, num_classes, width, config.auxiliary, stem, wiring=config.baseline_wiring)
    model.to(device).to(memory_format=setting.layout)
    model.fuse(setting.execution == "fused")
    counted = network_cost(
        genotype, num_classes, width, stem=stem, wiring=config.baseline_wiring, image_size=image_size
    )
    cast = partial(autocast, setting.precision, device)
    average = MovingAverage(model, config.ema) if config.ema is not None else None
    stepper = make_stepper(model, config, setting.precision, cast, group, unused=counted.params_without_gradient > 0)
    own_generators(group)
    kept = counted.activations_fused if setting.execution == "fused" else counted.activations
    return Trainer(model, stepper, average, counted, device, cast, kept)


def make_stepper(
    model: DerivedNetwork,
    config: TrainConfig,
    precision: str,
    cast: partial,
    group: Group | None = None,
    unused: bool = False,
) -> Stepper:
    """What steps `model` as the configuration says, in `precision`, whose autocast `cast` opens; on several ranks
    through DDP. unused: some parameters never get a gradient."""
    group = group or single(next(model.parameters()).device)
    optimizer = make_optimizer(model.parameters(), config)
    options: dict[str, Any] = {
        "label_smoothing": config.label_smoothing,
        "auxiliary_weight": config.auxiliary_weight,
        "grad_clip": config.grad_clip,
        "parts": config.accumulate,
    }
    forward: Any = torch.compile(model) if config.compile else model
    if config.cuda_graphs:
        forward = GraphedForward(model, lambda: model.drops_paths)
    if config.engine == "deepspeed":
        engine = make_engine(config, model, optimizer, group, cast, LossScale(enabled=precision == "fp16"))
        return DeepSpeedStepper(model, engine, group, **options)
    if group.size > 1:
        with warnings.catch_warnings():  # torch 2.14 wants another name for it, which 2.11 does not know
            warnings.simplefilter("ignore", FutureWarning)
            # BN stays local: its buffers are not sent along.
            forward = DistributedDataParallel(forward, broadcast_buffers=False, find_unused_parameters=unused)
    return Stepper(model, forward, optimizer, make_scaler(precision, group.device), cast, group=group, **options)


def build_data(
    config: TrainConfig, device: torch.device, layout: torch.memory_format, group: Group | None = None
) -> TrainData:
    """Read both splits. The augmentation is the published one; images that must not be mirrored are not. Of several
    ranks each has a share of every batch, and as many training batches as the others."""
    group = group or single(device)
    train, test = asked_for(config, "train"), asked_for(config, "test")
    _check_splits(train, test)
    group.check_share(train.spec.name, len(train))
    augmentation = training_augmentation(config, train.spec)
    make = partial(
        make_loader,
        batch_size=config.batch_size,
        seed=config.seed,
        kind=config.loader,
        device=device,
        workers=config.workers,
        channels_last=layout == torch.channels_last,
        rank=group.rank,
        world_size=group.size,
    )
    # BN of a single pixel needs two images, so a last batch of one is left out.
    alone = len(train) > 1 and len(train) % config.batch_size == 1
    drop_last = alone or group.size > 1 or train.spec.photographs
    return TrainData(
        train=make(train, augmentation=augmentation, shuffle=True, drop_last=drop_last),
        test=make(test, augmentation=Augmentation.none(), shuffle=False),
        num_classes=train.num_classes,
        image_size=train.spec.image_size,
        census=census(train),
    )


def _check_splits(train: Images, test: Images) -> None:
    if train.class_names != test.class_names:
        odd = sorted(set(train.class_names) ^ set(test.class_names)) or ["their order"]
        raise UsageError(f"{train.spec.name}: training and test images have other classes ({', '.join(odd[:3])})")
