"""Networks by name: `create_model("DD-cifar10", init_channels=36)`, with weights from a file where one is given."""

import os

from ddarts.genotype import zoo
from ddarts.genotype.deepen import deepen
from ddarts.genotype.schema import Genotype, check
from ddarts.network.model import DerivedNetwork
from ddarts.network.trained import Wanted, read_trained, reconciled
from ddarts.runtime.errors import DdartsError

PUBLISHED_CHANNELS = 64
CLASSES = 10


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
    num_classes: int | None = None,
    init_channels: int | None = None,
    layers: int | None = None,
    derivation: str = "paper",
    auxiliary: bool = False,
    stem: str | None = None,
    wiring: str | None = None,
    drop_path_prob: float = 0.0,
    pretrained: bool = False,
    weights: str | os.PathLike[str] | None = None,
) -> DerivedNetwork:
    """A network of the architecture `name`: a name of `list_models`, the path of a genotype alone, or a genotype.

    Images float32 [N, 3, H, W] → logits [N, num_classes]; with `auxiliary`, in training mode, a pair of logits.
    Untrained, in training mode: 10 classes, the CIFAR stem and increasing wiring unless told otherwise, and for
    init_channels see `channels`. For the other arguments see `architecture` and `DerivedNetwork`.

    weights: a file that `load_model` reads; its network's sizes apply, and the model is in evaluation mode.
    pretrained: weights that come with the package. There are none in this version: True is always a DdartsError.
    """
    if pretrained:
        raise DdartsError(
            "pretrained=True: this package holds no trained weights; train the network with ddarts train, "
            "or give a file of weights: create_model(…, weights=FILE)"
        )
    if weights is None:
        return DerivedNetwork(
            architecture(name, layers, derivation),
            CLASSES if num_classes is None else num_classes,
            channels(name, init_channels),
            auxiliary,
            stem or "cifar",
            drop_path_prob,
            wiring or "increasing",
        )
    stored = read_trained(weights)
    told = Wanted(architecture(name), layers, derivation, init_channels, num_classes, stem, wiring)
    found = reconciled(stored, told)
    return stored.put_into(
        DerivedNetwork(
            found.genotype, found.num_classes, found.init_channels, auxiliary, found.stem, drop_path_prob, found.wiring
        )
    )
