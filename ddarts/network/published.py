"""Weights of derived networks under the names that the published code gives them, in its `.pth.tar` files.

Cells hold their operations under `_ops.TO.FROM.J` (J counts the operations of an edge in the order of
the genes) or, for genotypes of two edges a node, under `_ops.J` (J counts the cell's genes).
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from ddarts.genotype.schema import Cell, Genotype
from ddarts.network.cell import edge_name
from ddarts.network.model import DerivedNetwork
from ddarts.network.weights import AUXILIARY, fill, mismatch
from ddarts.network.wiring import plan
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.torch_file import read_torch_weights

_NESTED = re.compile(r"cells\.\d+\._ops\.\d+\.\d+\.\d+\.")
# The operations that the published code builds without a module of their own around the layers.
_BARE = ("conv_7x1_1x7",)
_STEMS = {
    "cifar": {"stem.0.": "stem.conv.", "stem.1.": "stem.bn."},
    "imagenet": {"stem0.": "stem.state0.", "stem1.": "stem.state1."},
}
_AUXILIARY = {
    f"auxiliary_head.features.{theirs}.": f"auxiliary_head.layers.{ours}."
    for theirs, ours in ((2, 0), (3, 1), (5, 3), (6, 4))
}


def is_published(path: str | os.PathLike[str]) -> bool:
    """Whether a file of weights is taken for a published checkpoint: anything but `.safetensors`."""
    return Path(path).suffix.lower() != ".safetensors"


def load_published(
    model: DerivedNetwork, path: str | os.PathLike[str], weights: Mapping[str, Tensor] | None = None
) -> None:
    """Put the weights of a published checkpoint into `model`, all of them or none.

    `weights`: what `read_torch_weights` found in the file, where it has been read already.
    UsageError where there is no such file; DdartsError where it holds anything but weights, names the first weights
    that are missing, too many or of another shape, or a cell that the published code computes in another order.
    """
    _check_wiring(model, path)
    found = dict(read_torch_weights(path) if weights is None else weights)
    if model.auxiliary_head is None:
        found = {name: value for name, value in found.items() if not name.startswith(AUXILIARY)}
    nested = any(_NESTED.match(name) for name in found) or not any("._ops." in name for name in found)
    table = dict(_prefixes(model, nested))
    own = model.state_dict()
    names = {_published_name(name, table): name for name in own}
    problem = mismatch({name: own[ours].shape for name, ours in names.items()}, found)
    if problem:
        raise DdartsError(
            f"{path}: the weights do not belong to '{model.genotype.name}' with {model.genotype.layers} cells, "
            f"{model.init_channels} channels and {model.num_classes} classes: {problem}"
        )
    fill(model, {names[name]: value for name, value in found.items()}, str(path))


def _published_name(ours: str, table: Mapping[str, str]) -> str:
    for prefix, theirs in table.items():
        if ours.startswith(prefix):
            return theirs + ours[len(prefix) :]
    return ours  # preprocess0, preprocess1 and the classifiers have the same names in both


def _prefixes(model: DerivedNetwork, nested: bool) -> Iterator[tuple[str, str]]:
    """Beginnings of our names that differ, and the published ones."""
    for table in (_STEMS["cifar" if model.stem_name == "cifar" else "imagenet"], _AUXILIARY):
        yield from ((ours, theirs) for theirs, ours in table.items())
    for index, cell in enumerate(_cells(model.genotype)):
        edge_count: Counter[tuple[int, int]] = Counter()
        for number, gene in enumerate(cell):
            where = f"{gene.to}.{gene.source}.{edge_count[gene.to, gene.source]}" if nested else str(number)
            edge_count[gene.to, gene.source] += 1
            ours = f"cells.{index}.edges.{edge_name(gene)}." + ("op." if gene.op in _BARE else "")
            yield ours, f"cells.{index}._ops.{where}."


def _cells(genotype: Genotype) -> list[Cell]:
    return [genotype.position(index) for index in range(genotype.layers)]


def _check_wiring(model: DerivedNetwork, path: str | os.PathLike[str]) -> None:
    if model.wiring == "published":
        return
    for index, cell in enumerate(_cells(model.genotype)):
        if plan(cell, "published") != plan(cell, model.wiring):
            raise DdartsError(
                f"{path}: the published code wires cell {index} of '{model.genotype.name}' otherwise; "
                f"use --baseline_wiring published"
            )
