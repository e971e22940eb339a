"""Trained networks from files: ours, which say which network they hold, and published checkpoints, which do not."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from os.path import isdir, isfile, join

from torch import Tensor

from ddarts.genotype.deepen import deepen
from ddarts.genotype.schema import Cell, Genotype
from ddarts.network.model import DerivedNetwork
from ddarts.network.published import is_published, load_published
from ddarts.network.weights import Description, fill, read_network
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.torch_file import read_torch_weights

# The first convolution of every stem, ours and published: its filters in units of half of C, and the stem.
_FIRST = {
    "stem.conv.weight": (6, "cifar"),
    "stem.0.weight": (6, "cifar"),
    "stem.state0.0.weight": (1, "imagenet"),
    "stem0.0.weight": (1, "imagenet"),
}
_EXPORTED = {".onnx": "onnxruntime", ".pt2": "torch.export.load(FILE).module()"}
_STEM_OPTION = {"imagenet": "published"}


@dataclass(frozen=True)
class Wanted:
    """What is said about a network beside its file of weights. None: it is as the file says."""

    genotype: Genotype | None = None
    layers: int | None = None
    derivation: str | None = None
    init_channels: int | None = None
    num_classes: int | None = None
    stem: str | None = None
    wiring: str | None = None


@dataclass(frozen=True)
class Stored:
    """A file of weights that has been read. `description` is None where the file says nothing about the network."""

    path: str
    weights: Mapping[str, Tensor]
    description: Description | None

    def put_into(self, model: DerivedNetwork) -> DerivedNetwork:
        """Give `model` these weights, all or none, and evaluation mode. DdartsError where they do not fit."""
        if is_published(self.path):
            load_published(model, self.path, self.weights)
        else:
            fill(model, self.weights, self.path)
        return model.eval()


def read_trained(path: str | os.PathLike[str]) -> Stored:
    """Read a file of weights (.safetensors, else a PyTorch file), or the best weights of a training's run folder.

    UsageError where there is no such file; DdartsError where it is damaged or holds anything but weights.
    """
    path = os.fspath(path)
    if isdir(path):
        folder, path = path, join(path, "best.safetensors")
        if not isfile(path):
            raise UsageError(
                f"--model_path {folder}: this folder has no best.safetensors; "
                "give a run folder of ddarts train, or the file with the weights"
            )
    for ending, runner in _EXPORTED.items():
        if path.lower().endswith(ending) and isfile(path):
            raise DdartsError(f"{path}: an exported network, which {runner} runs; here weights are expected")
    if is_published(path):
        return Stored(path, read_torch_weights(path), None)
    return Stored(path, *read_network(path))


def load_model(path: str | os.PathLike[str], wanted: Wanted | None = None) -> DerivedNetwork:
    """The trained network in a file or run folder, in evaluation mode, without its auxiliary head.

    Images float32 [N, 3, H, W], normalised as in training → logits [N, classes]. Nothing but the file is needed where
    `ddarts train` wrote it; a published checkpoint also needs a genotype. Errors as of `read_trained` and `reconciled`.
    """
    stored = read_trained(path)
    return stored.put_into(reconciled(stored, wanted or Wanted()).build())


def reconciled(stored: Stored, wanted: Wanted) -> Description:
    """The network that the weights belong to: as their file describes it, or, where it does not, as `wanted` says and
    the shapes of the weights tell. DdartsError where file and `wanted` contradict each other; UsageError where
    nothing says which architecture it is."""
    found = stored.description
    if found is None:
        return _from_shapes(stored, wanted)
    _check_architecture(stored.path, found, wanted)
    options = {
        "init_channels": (wanted.init_channels, found.init_channels),
        "num_classes": (wanted.num_classes, found.num_classes),
        "baseline_wiring": (wanted.wiring, found.wiring),
        "imagenet_stem": (wanted.stem, found.stem),
    }
    for name, (asked, held) in options.items():
        if asked is not None and asked != held:
            what = f"the stem {held}" if name == "imagenet_stem" else held
            raise DdartsError(
                f"--{name} {_STEM_OPTION.get(str(asked), asked)}: the weights in {stored.path} have {what}"
            )
    return found


def _from_shapes(stored: Stored, wanted: Wanted) -> Description:
    genotype = wanted.genotype
    if genotype is None:
        raise UsageError(f"--model_path {stored.path}: does not say its architecture; name it with --arch")
    if wanted.layers is not None:
        genotype = deepen(genotype, wanted.layers, wanted.derivation or "paper")
    first = next((name for name in _FIRST if name in stored.weights), None)
    last = stored.weights.get("classifier.weight")
    if first is None or last is None:
        raise DdartsError(f"{stored.path}: not the weights of a derived network: stem or classifier are not there")
    halves, stem = _FIRST[first]
    return Description(
        genotype,
        wanted.num_classes or last.shape[0],
        wanted.init_channels or 2 * stored.weights[first].shape[0] // halves,
        wanted.stem or stem,
        wanted.wiring or ("published" if is_published(stored.path) else "increasing"),
    )


def _check_architecture(path: str, stored: Description, wanted: Wanted) -> None:
    """Refuse weights of another architecture than the one wanted."""
    asked, own = wanted.genotype, stored.genotype.layers
    layers = own if wanted.layers is None else wanted.layers
    if asked is None:
        if layers != own:
            raise DdartsError(f"--layers {layers}: the weights in {path} have {own} cells")
        return
    if layers > asked.layers and asked.sequence is None:
        asked = deepen(asked, layers, wanted.derivation or stored.derivation)
    if _structure(asked) != _structure(stored.genotype):
        raise DdartsError(
            f"--arch {asked.name}: the weights in {path} belong to another architecture, "
            f"'{stored.genotype.name}' with {own} cells; leave --arch out to use it"
        )


def _structure(genotype: Genotype) -> tuple[tuple[frozenset, ...], tuple[int, ...]]:
    """What makes two genotypes the same network: cells by position (their genes in any order), and the reductions."""
    cells: list[Cell] = [genotype.position(index) for index in range(genotype.layers)]
    return tuple(frozenset(cell) for cell in cells), genotype.reductions
