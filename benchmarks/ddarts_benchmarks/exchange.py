"""A small host network in which every exchangeable position carries the same operation, trained and tested once.

A cell has two nodes. Node 2 sums a fixed 3x3 convolution of state 0 and the operation on state 1; node 3 sums the
operation on node 2 and state 1 as it is. So the operation stands one after the other twice in each cell, at stride 2
too in reductions, and the network learns whatever the operation: the fixed positions carry the signal past it.
"""

from collections.abc import Callable
from functools import partial

import torch

from ddarts.config import TrainConfig
from ddarts.genotype.schema import Gene, Genotype
from ddarts.network.model import DerivedNetwork
from ddarts.runtime.device import autocast, memory_format
from ddarts.runtime.errors import DivergedError
from ddarts.runtime.metrics import evaluate
from ddarts.runtime.schedule import cosine, set_learning_rate
from ddarts.runtime.seeds import seed_all
from ddarts.space.primitives import DARTOPTI
from ddarts.space.topology import default_reductions
from ddarts.train.build import TrainData, build_data, make_stepper

PRECISION = "fp32"


def host(operation: str, layers: int) -> Genotype:
    """The host network of `layers` cells with `operation` at every position that is exchanged."""
    cell = (
        Gene("simple_conv_3x3", 2, 0),
        Gene(operation, 2, 1),
        Gene("skip_connect", 3, 1),
        Gene(operation, 3, 2),
    )
    return Genotype(operation, DARTOPTI.name, 2, (2, 3), default_reductions(layers), (cell,), (0,) * layers)


def read_data(config: TrainConfig, device: torch.device) -> TrainData:
    """The images, shuffled and augmented by the configuration's seed."""
    return build_data(config, device, memory_format(PRECISION, device))


def accuracy(
    operation: str, config: TrainConfig, data: TrainData, device: torch.device, between_epochs: Callable[[], None]
) -> float:
    """Train the host of `operation` as `config` says; returns its accuracy on the test images in per cent.

    Weights come from the configuration's seed alone, so every training ends as it would on its own. DivergedError
    names the operation and the seed.
    """
    seed_all(config.seed)
    genotype = host(operation, int(config.layers or 0))
    model = DerivedNetwork(genotype, data.num_classes, int(config.init_channels or 0))
    model.to(device).to(memory_format=memory_format(PRECISION, device))
    stepper = make_stepper(model, config, PRECISION, partial(autocast, PRECISION, device))
    step = 0
    try:
        for epoch in range(config.epochs):
            set_learning_rate(stepper.optimizer, cosine(epoch, config.epochs, config.learning_rate))
            for images, labels in data.train.epoch(epoch):
                step += 1
                stepper.step(images, labels, step)
            stepper.check()
            if epoch + 1 < config.epochs:
                between_epochs()
    except DivergedError as error:
        raise DivergedError(f"{operation}, seed {config.seed}: {error}") from None
    model.eval()
    return evaluate(model, data.test.epoch(0)).top1
