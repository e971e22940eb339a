"""From a configuration to everything one search needs: data, network, α, optimizers, the iteration."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ddarts.config.search import SearchConfig
from ddarts.data.augment import Augmentation, training_augmentation
from ddarts.data.census import census
from ddarts.data.datasets import asked_for
from ddarts.data.halves import halves
from ddarts.data.loader import Loader, make_loader
from ddarts.runtime.device import autocast, memory_format, resolve_precision
from ddarts.runtime.loss_scale import LossScale
from ddarts.runtime.ranks.group import Group, single
from ddarts.runtime.ranks.launch import make_engine
from ddarts.runtime.ranks.saving import own_generators
from ddarts.runtime.seeds import seed_all
from ddarts.search.guard import Guard
from ddarts.search.iteration import Iteration
from ddarts.search.layout import Layout, layout_of
from ddarts.search.recipes import RECIPES, LossWeights
from ddarts.space.stems import stem_for
from ddarts.space.topology import num_edges
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.execution import choose
from ddarts.supernet.network import SearchNetwork
from ddarts.supernet.weights import load_search_weights

_log = logging.getLogger(__name__)
ADAM_BETAS = (0.9, 0.999)
# Offsets of the seed, so that the two halves and the evaluation draw different orders and crops.
TRAIN, VALID = 0, 1


@dataclass(frozen=True)
class SearchData:
    """The two halves: `train` moves the weights, `valid` moves α, `check` is `valid` with evaluation transforms."""

    train: Loader
    valid: Loader
    check: Loader
    num_classes: int
    census: dict[str, Any]  # of both


@dataclass(frozen=True)
class Searcher:
    """All that a search steps."""

    layout: Layout
    network: SearchNetwork
    alphas: Alphas
    iteration: Iteration
    device: torch.device
    autocast: partial


def build_data(
    config: SearchConfig, device: torch.device, layout: torch.memory_format, group: Group | None = None
) -> SearchData:
    """Read the training images and split them; the test images are never looked at. Of several ranks each has a share
    of every batch, and as many batches as the others."""
    group = group or single(device)
    images = asked_for(config, "train")
    first, second = (images.subset(part) for part in halves(images.labels, config.train_portion, config.seed))
    group.check_share(images.spec.name, min(len(first), len(second)))
    augmentation = training_augmentation(config, images.spec)
    batches = partial(
        make_loader,
        batch_size=config.batch_size,
        kind=config.loader,
        device=device,
        channels_last=layout == torch.channels_last,
        workers=config.workers,
        rank=group.rank,
        world_size=group.size,
    )
    shuffled = partial(
        batches, augmentation=augmentation, shuffle=True, drop_last=group.size > 1 or images.spec.photographs
    )
    return SearchData(
        train=shuffled(first, seed=config.seed * 2 + TRAIN),
        valid=shuffled(second, seed=config.seed * 2 + VALID),
        check=batches(second, augmentation=Augmentation.none(), shuffle=False, seed=config.seed),
        num_classes=images.num_classes,
        census=census(images),
    )


def make_network(config: SearchConfig, layout: Layout, num_classes: int, execution: str) -> SearchNetwork:
    """The search network that the configuration describes, for images of `num_classes` classes."""
    return SearchNetwork(
        layout.space,
        num_classes=num_classes,
        init_channels=config.init_channels,
        layers=layout.layers,
        steps=layout.steps,
        multiplier=layout.multiplier,
        reductions=layout.reductions,
        stem=stem_for(config.dataset or "", config.imagenet_stem),
        execution=execution,
        activation_storage=config.activation_storage,
    )


def build_searcher(
    config: SearchConfig,
    num_classes: int,
    device: torch.device,
    precision: str = "fp32",
    group: Group | None = None,
) -> Searcher:
    """The search network with its α and optimizers, initialised from the configuration's seed."""
    layout = layout_of(config)
    group = group or single(device)
    seed_all(config.seed)
    network = make_network(
        config, layout, num_classes, choose(config.supernet, device, precision, config.activation_storage)
    )
    if config.init_from:
        load_search_weights(network, config.init_from)
    network.to(device).to(memory_format=memory_format(precision, device))
    alphas = Alphas(layout.sequence, num_edges(layout.steps), len(layout.space))
    with torch.no_grad():
        alphas.logits.copy_(layout.start())
    alphas.to(device)
    cast = partial(autocast, precision, device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=config.engine == "torch",  # 1,400 small tensors in one call
    )
    iteration = Iteration(
        network,
        alphas,
        torch.optim.Adam(
            [alphas.logits],
            config.arch_learning_rate,
            betas=ADAM_BETAS,
            weight_decay=config.arch_weight_decay,
            fused=True,
        ),
        make_engine(config, network, optimizer, group, cast, LossScale(enabled=precision == "fp16")),
        RECIPES[config.recipe](alphas.sets, LossWeights(config.aux_loss_weight, config.abl_loss_weight)),
        seed=config.seed,
        zero_one=config.sep_loss,
        ablation=config.cell_loss == "ablation_loss",
        ablation_every=config.ablation_every,
        parts=config.accumulate,
        autocast=cast,
        group=group,
        guard=_guard(config, device, precision, group),
    )
    own_generators(group)
    return Searcher(layout, network, alphas, iteration, device, cast)


def _guard(config: SearchConfig, device: torch.device, precision: str, group: Group) -> Guard | None:
    """On a GPU, unless the host has to know of every step: to find a loss scale, or to tell other ranks."""
    if device.type == "cpu":
        return None
    reasons = {
        "--engine deepspeed": config.engine != "torch",
        "several ranks": group.size > 1,
        "the loss scale of fp16": precision == "fp16",
    }
    reason = next((words for words, applies in reasons.items() if applies), None)
    if reason is None:
        return Guard(device)
    _log.info("iterations run without CUDA graphs (%s)", reason)
    return None


def build(config: SearchConfig, group: Group) -> tuple[SearchData, Searcher]:
    """Data and searcher of this rank, on its device."""
    device = group.device
    precision = resolve_precision(config.precision, config.amp, device.type)
    with group.first_goes_first():
        data = build_data(config, device, memory_format(precision, device), group)
    return data, build_searcher(config, data.num_classes, device, precision, group)
