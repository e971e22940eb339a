"""Where in a search network numbers stop being finite. Shapes: L cell positions, E edges, K operations."""

import math
import re

import torch
from torch import Tensor

from ddarts.runtime.finite import bad_parameter, is_finite, watching
from ddarts.space.topology import edges
from ddarts.supernet.network import STORAGES, SearchNetwork, frozen_statistics
from ddarts.supernet.reference import SearchCell

_OPERATION = re.compile(r"_ops\.(\d+)\._ops\.(\d+)")


@torch.no_grad()
def first_not_finite(network: SearchNetwork, images: Tensor, weights: Tensor) -> str | None:
    """In words, the first thing that is not finite when the network with mixing weights [L, E, K] sees `images`: the
    images, α, a parameter, or what a cell's operation puts out; None where everything is. Cells run as the reference
    does, operation by operation; no statistics are moved. With half storage, then the first operation with numbers that
    it does not hold."""
    if not is_finite(images):
        return "the images of the batch"
    bad = next((index for index in range(len(weights)) if not is_finite(weights[index])), None)
    if bad is not None:
        return f"α of cell {bad}"
    name = bad_parameter(network)
    if name is not None:
        return f"a weight of {_words(network, name)}"
    with frozen_statistics(network):
        if not is_finite(network.start(images)):
            return "the stem"
        name = _first_beyond(network, images, weights)
        if name is not None:
            return _words(network, name)
        stored = STORAGES[network.activation_storage]
        if stored is None:
            return None
        largest = torch.finfo(stored).max
        name = _first_beyond(network, images, weights, largest)
    if name is None:
        return None
    held = f"--activation_storage {network.activation_storage} holds no number beyond {largest:g}"
    return f"{_words(network, name)}: {held}"


def _first_beyond(network: SearchNetwork, images: Tensor, weights: Tensor, largest: float = math.inf) -> str | None:
    """The first module that puts out a number that is not finite, or beyond ± `largest`."""
    states = network.start(images)
    for index, cell in enumerate(network.cells):
        assert isinstance(cell, SearchCell)
        with watching(cell, largest) as found:
            states = states[1], SearchCell._run(cell, *states, weights[index], None)
        if found or not is_finite(states[1]):
            return f"cells.{index}.{found[0] if found else ''}"
    return None


def _words(network: SearchNetwork, name: str) -> str:
    """`cells.2._ops.7._ops.3.op.1` as cell 2, edge 4 ← 2, sep_conv_3x3."""
    if not name.startswith("cells."):
        return f"the {name.split('.')[0]}"
    _, index, rest = name.split(".", 2)
    cell, found = network.cells[int(index)], _OPERATION.match(rest)
    assert isinstance(cell, SearchCell)
    if found is None:
        return f"cell {index}, {rest.split('.')[0] or 'a node'}"
    to, source = edges(cell.steps)[int(found[1])]
    return f"cell {index}, edge {to} ← {source}, {cell.space.operations[int(found[2])]}"
