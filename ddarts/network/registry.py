"""Networks by name: `create_model("DD-cifar10", init_channels=36)`."""

import os

from ddarts.genotype import zoo
from ddarts.genotype.deepen import deepen
from ddarts.genotype.schema import Genotype, check
from ddarts.network.model import DerivedNetwork
from ddarts.runtime.errors import DdartsError

PUBLISHED_CHANNELS = 64


def list_models() -> list[str]:
    """The names that `create_model` knows, aliases first."""
    return [entry.name for entry in zoo.entries() if entry.problem is None]


def architecture(
    arch: str | os.PathLike[str] | Genotype, layers: int | None = None, derivation: str = "paper"
) -> Genotype:
    """The genotype called `arch`, or read from the file `arch`, as a network of `layers` cells (None: its own number).

    UsageError for an unknown name, a missing file or a number of layers that does not fit; DdartsError for a genotype
    that cannot be built.
    """
    genotype = check(arch, f"genotype '{arch.name}'") if isinstance(arch, Genotype) else zoo.resolve(os.fspath(arch))
    return genotype if layers is None else deepen(genotype, layers, derivation)


def channels(arch: str | os.PathLike[str] | Genotype, asked: int | None = None) -> int:
    """Channels of the first cell: those asked for, else those of the article's network that `arch` is an alias of
    (DD-4: 36), else 64, as published."""
    alias = None if isinstance(arch, Genotype) else zoo.alias(os.fspath(arch))
    return asked or (alias and alias.init_channels) or PUBLISHED_CHANNELS


def create_model(
    name: str | os.PathLike[str] | Genotype,
    *,
    num_classes: int = 10,
    init_channels: int | None = None,
    layers: int | None = None,
    derivation: str = "paper",
    auxiliary: bool = False,
    stem: str = "cifar",
    wiring: str = "increasing",
    drop_path_prob: float = 0.0,
    pretrained: bool = False,
) -> DerivedNetwork:
    """An untrained network of the architecture `name` (a name of `list_models`, a file, or a genotype).

    Images float32 [N, 3, H, W] → logits [N, num_classes]; with `auxiliary`, in training mode, a pair of logits.
    init_channels: see `channels` for None. For the other arguments see `architecture` and `DerivedNetwork`.
    """
    if pretrained:
        raise DdartsError(
            "pretrained: this package holds no trained weights; "
            "train the network, or load a file of weights with ddarts evaluate --model_path"
        )
    return DerivedNetwork(
        architecture(name, layers, derivation),
        num_classes,
        channels(name, init_channels),
        auxiliary,
        stem,
        drop_path_prob,
        wiring,
    )
