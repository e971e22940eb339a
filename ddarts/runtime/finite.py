"""Finding the first number that is not finite, after a loss was not."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def is_finite(value: Any, largest: float = math.inf) -> bool:
    """Whether all tensors in `value` (a tensor, or a tuple of such) are finite and none is beyond ± `largest`. The host
    waits for its device."""
    if isinstance(value, Tensor):
        return bool((torch.isfinite(value) & (value.abs() <= largest)).all())
    return all(is_finite(each, largest) for each in value) if isinstance(value, tuple | list) else True


def bad_parameter(model: nn.Module) -> str | None:
    """Name of the first parameter of `model` with a number that is not finite."""
    return next((name for name, value in model.named_parameters() if not is_finite(value)), None)


@contextmanager
def watching(model: nn.Module, largest: float = math.inf) -> Iterator[list[str]]:
    """Names of the modules that put out a number that is not finite, or beyond ± `largest`, in the order in which
    they end: the innermost of the first one comes first."""
    found: list[str] = []
    hooks = []
    for name, module in model.named_modules():

        def note(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            if not is_finite(output, largest):
                found.append(name)

        hooks.append(module.register_forward_hook(note))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
