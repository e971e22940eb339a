"""Equality to the last bit of nested states: tensors, arrays, numbers, names."""

from typing import Any

import numpy as np
import torch


def assert_same_bits(one: Any, other: Any, path: str = "state") -> None:
    """Fail with the path of the first entry that differs in type, dtype or value."""
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), path
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and np.array_equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same_bits(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same_bits(a, b, f"{path}[{i}]")
    else:
        assert one == other, f"{path}: {one} and {other}"
