"""The contestants of `bench train`: ways to do the same training steps of a derived network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ddarts.config import TrainConfig
from ddarts.network.model import DerivedNetwork
from ddarts.network.registry import architecture, channels
from ddarts.train.build import build_trainer, settle
from ddarts_benchmarks.published_training import AUXILIARY, CLIP, SGD, PublishedTraining

CLASSES = 10
PUBLISHED = ("published", "published_channels_last")
OURS = {"ours": "fp32", "ours_bf16": "bf16"}


@dataclass(frozen=True)
class Case:
    """A named architecture with the article's channels (or these), on square images."""

    arch: str
    batch: int
    channels: int | None = None
    layers: int | None = None
    side: int = 32
    drop_path: float = 0.1
    rate: float = 0.025
    dtype: torch.dtype = torch.float32
    dataset: str = "cifar10"  # decides the stem

    def __str__(self) -> str:
        return f"{self.arch}, batch {self.batch}"


@dataclass(frozen=True)
class Training:
    """A contestant: its step, (images [N, 3, H, W], labels [N]) → loss, and how it has images in memory."""

    step: Callable[[Tensor, Tensor], Tensor | float]
    layout: torch.memory_format

    def batch(self, seed: int, case: Case, device: torch.device) -> tuple[Tensor, Tensor]:
        """Random pixels, random labels: the same for every contestant."""
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(case.batch, 3, case.side, case.side, generator=generator)
        labels = torch.randint(CLASSES, (case.batch,), generator=generator)
        return images.to(device, case.dtype, memory_format=self.layout), labels.to(device)


def training(name: str, case: Case, device: torch.device) -> Training:
    """The contestant `name`; all begin with the same weights."""
    with _default(case.dtype):
        if name in PUBLISHED:
            layout = torch.contiguous_format if name == "published" else torch.channels_last
            network = _published_network(case, device, layout)
            return Training(PublishedTraining(network, case.rate, case.drop_path).step, layout)
        config = _config(name, case, device)
        setting = settle(config)
        trainer = build_trainer(config, setting, CLASSES, case.side)
    trainer.model.train()
    trainer.model.drop_path_prob = case.drop_path
    numbers = iter(range(1, 1_000_000_000))
    return Training(lambda images, labels: trainer.stepper.step(images, labels, next(numbers)).loss, setting.layout)


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Networks that are made meanwhile have this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _config(name: str, case: Case, device: torch.device) -> TrainConfig:
    """As published; both loops have its rates."""
    return TrainConfig(
        arch=case.arch,
        layers=case.layers,
        init_channels=case.channels,
        dataset=case.dataset,
        auxiliary=True,
        auxiliary_weight=AUXILIARY,
        learning_rate=case.rate,
        momentum=SGD["momentum"],
        weight_decay=SGD["weight_decay"],
        grad_clip=CLIP,
        batch_size=case.batch,
        precision=OURS[name],
        device=str(device),
    )


def _published_network(case: Case, device: torch.device, layout: torch.memory_format) -> DerivedNetwork:
    with torch.random.fork_rng([]):
        torch.manual_seed(TrainConfig.seed)
        width = channels(case.arch, case.channels)
        network = DerivedNetwork(architecture(case.arch, case.layers), CLASSES, width, auxiliary=True)
    return network.to(device).to(memory_format=layout)


def work(name: str, case: Case, device: torch.device) -> Callable[[], object]:
    """One step of the contestant `name` on the same batch, time after time."""
    contestant = training(name, case, device)
    return partial(contestant.step, *contestant.batch(1, case, device))
