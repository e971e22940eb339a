"""Where in a derived network numbers stop being finite."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ddarts.network.model import DerivedNetwork
from ddarts.runtime.errors import DivergedError
from ddarts.runtime.finite import bad_parameter, is_finite, watching

_OPERATION = re.compile(r"cells\.(\d+)\.edges\.(\d+)_to_(\d+)_(\w+)")


@contextmanager
def naming_operation(model: DerivedNetwork, images: Tensor) -> Iterator[None]:
    """Let a divergence on these images name cell and operation, where the network puts out what is not finite."""
    try:
        yield
    except DivergedError as error:
        where = first_not_finite(model, images)
        raise DivergedError(f"{error}{f' (first in {where})' if where else ''}") from None


@torch.no_grad()
def first_not_finite(model: DerivedNetwork, images: Tensor) -> str | None:
    """In words, the first thing that is not finite when the network sees `images`: the images, a parameter, or what an
    operation puts out; None where everything is. Cells run module by module, and stay so: their training has ended."""
    if not is_finite(images):
        return "the images of the batch"
    name = bad_parameter(model)
    if name is not None:
        return f"a weight of {_words(name)}"
    model.fuse(False)
    with watching(model) as found:
        model(images)
    return _words(found[0]) if found else None


def _words(name: str) -> str:
    """`cells.2.edges.0_to_3_sep_conv_3x3.op.1` as cell 2, edge 3 ← 0, sep_conv_3x3."""
    found = _OPERATION.match(name)
    if found:
        return f"cell {found[1]}, edge {found[3]} ← {found[2]}, {found[4]}"
    parts = name.split(".")
    return f"cell {parts[1]}, {parts[2]}" if parts[0] == "cells" and len(parts) > 2 else f"the {parts[0]}"
