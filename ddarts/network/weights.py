"""Trained networks in one file: safetensors weights whose metadata say which network they belong to."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ddarts.genotype.files import from_dict, to_dict
from ddarts.genotype.schema import Genotype
from ddarts.network.model import DerivedNetwork
from ddarts.network.wiring import WIRINGS
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.weights import load_weights, save_weights
from ddarts.space.stems import STEMS

_SHOWN = 3  # names in a message
AUXILIARY = "auxiliary_head."


@dataclass(frozen=True)
class Description:
    """Which network a file's weights belong to. `genotype` is the one that was built, already deepened."""

    genotype: Genotype
    num_classes: int
    init_channels: int
    stem: str = "cifar"
    wiring: str = "increasing"
    auxiliary: bool = False
    dataset: str = ""
    derivation: str = "paper"
    image_size: int | None = None
    class_names: tuple[str, ...] = ()

    def build(self) -> DerivedNetwork:
        """The network, untrained and without its auxiliary head."""
        return DerivedNetwork(self.genotype, self.num_classes, self.init_channels, stem=self.stem, wiring=self.wiring)


def describe(
    model: DerivedNetwork,
    dataset: str = "",
    derivation: str = "paper",
    image_size: int | None = None,
    class_names: Sequence[str] = (),
) -> dict[str, str]:
    """The metadata that go with the weights of `model`; size and classes are those of the images it was trained on."""
    return {
        "genotype": json.dumps(to_dict(model.genotype)),
        "num_classes": str(model.num_classes),
        "init_channels": str(model.init_channels),
        "layers": str(model.genotype.layers),
        "derivation": derivation,
        "auxiliary": str(model.auxiliary_head is not None).lower(),
        "stem": model.stem_name,
        "wiring": model.wiring,
        "dataset": dataset,
        "image_size": str(image_size or ""),
        "class_names": json.dumps(list(class_names)),
    }


def save_network(
    path: str | os.PathLike[str],
    model: DerivedNetwork,
    dataset: str = "",
    derivation: str = "paper",
    image_size: int | None = None,
    class_names: Sequence[str] = (),
) -> None:
    """Write the weights of `model`, and what it is, to `path` in one step. Raises DdartsError."""
    save_weights(path, model.state_dict(), describe(model, dataset, derivation, image_size, class_names))


def read_network(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], Description | None]:
    """The weights in `path` and which network they belong to (None: the file does not say).

    UsageError where there is no such file; DdartsError where it is damaged or describes no network.
    """
    weights, metadata = load_weights(path)
    return weights, _description(metadata, Path(path)) if "genotype" in metadata else None


def fill(model: DerivedNetwork, weights: Mapping[str, Tensor], where: str) -> None:
    """Put `weights` into `model`, all of them or none; an auxiliary head that the model lacks is passed over.

    DdartsError names the first weights that are missing, too many or of another shape.
    """
    if model.auxiliary_head is None:
        weights = {name: value for name, value in weights.items() if not name.startswith(AUXILIARY)}
    problem = mismatch({name: value.shape for name, value in model.state_dict().items()}, weights)
    if problem:
        raise DdartsError(
            f"{where}: the weights do not belong to '{model.genotype.name}' with {model.genotype.layers} cells, "
            f"{model.init_channels} channels and {model.num_classes} classes: {problem}"
        )
    model.load_state_dict(weights)


def mismatch(expected: Mapping[str, Any], found: Mapping[str, Tensor]) -> str | None:
    """What keeps weights from fitting a network of the `expected` shapes, in a few words, or None."""
    wrong = [
        f"{name} is {list(found[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    parts = (
        ("missing", [name for name in expected if name not in found]),
        ("unexpected", [name for name in found if name not in expected]),
        ("wrong shape", wrong),
    )
    texts = [f"{len(names)} {what} ({few(names)})" for what, names in parts if names]
    return "; ".join(texts) or None


def few(names: list[str]) -> str:
    """The first few of `names`, as a text."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _description(metadata: Mapping[str, str], path: Path) -> Description:
    try:
        genotype = from_dict(json.loads(metadata["genotype"]), f"{path}: genotype")
        found = Description(
            genotype,
            int(metadata["num_classes"]),
            int(metadata["init_channels"]),
            metadata.get("stem", "cifar"),
            metadata.get("wiring", "increasing"),
            metadata.get("auxiliary") == "true",
            metadata.get("dataset", ""),
            metadata.get("derivation", "paper"),
            int(metadata.get("image_size") or 0) or None,
            tuple(map(str, json.loads(metadata.get("class_names", "[]")))),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DdartsError(f"{path}: its description of the network cannot be read ({error!r})") from None
    if found.stem not in STEMS or found.wiring not in WIRINGS:
        raise DdartsError(f"{path}: unknown stem '{found.stem}' or wiring '{found.wiring}'")
    return found
