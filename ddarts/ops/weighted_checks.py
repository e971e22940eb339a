"""What mixed_sum refuses, in one line that names the argument. Run by every backend and by the fake kernels."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import torch
from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.mixed_sum.reference import Norm
from torch import Tensor

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_HALVES = (torch.bfloat16, torch.float16)
_NORMS = frozenset(int(kind) for kind in Norm)


def check(
    inputs: Sequence[Tensor],
    weights: Tensor,
    source: Sequence[int],
    norm: Sequence[int],
    mean: Tensor | None,
    rstd: Tensor | None,
    keep: Tensor | None,
) -> None:
    """ValueError names what does not fit."""
    if not inputs:
        raise ValueError("mixed_sum: inputs is an empty list; it needs at least one tensor")
    first = inputs[0]
    if first.dtype not in FLOATS:
        raise ValueError(f"mixed_sum: inputs are {first.dtype}; allowed are {', '.join(map(str, FLOATS))}")
    alike = first.shape, first.dtype, first.device
    for i, x in enumerate(inputs):
        if (x.shape, x.dtype, x.device) != alike:
            check_like(first, x, f"inputs[{i}]")
    _check_terms(inputs, weights, source, norm, keep)
    _check_norm(first, norm, mean, rstd)


def check_like(first: Tensor, x: Tensor, name: str) -> None:
    """ValueError unless `x` has the device, dtype and shape of `first`."""
    _check_device(first, x, name)
    if x.dtype != first.dtype:
        raise ValueError(f"mixed_sum: {name} is {x.dtype} but inputs[0] is {first.dtype}")
    if x.shape != first.shape:
        raise ValueError(f"mixed_sum: {name} is {list(x.shape)} but inputs[0] is {list(first.shape)}")


def weight_dtypes(dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    """What weights may be beside inputs of `dtype`."""
    return (dtype, torch.float32) if dtype in _HALVES else (dtype,)


def _check_device(first: Tensor, x: Tensor, name: str) -> None:
    if x.device != first.device:
        raise ValueError(f"mixed_sum: {name} is on {x.device} but inputs[0] is on {first.device}")


def _check_terms(
    inputs: Sequence[Tensor], weights: Tensor, source: Sequence[int], norm: Sequence[int], keep: Tensor | None
) -> None:
    first, terms = inputs[0], len(source)
    if weights.dim() != 1 or weights.shape[0] != terms:
        raise ValueError(f"mixed_sum: weights is {list(weights.shape)}; it must be [{terms}], one for each term")
    _check_device(first, weights, "weights")
    if weights.dtype not in weight_dtypes(first.dtype):
        allowed = " or ".join(map(str, weight_dtypes(first.dtype)))
        raise ValueError(f"mixed_sum: weights is {weights.dtype} but inputs are {first.dtype}; it must be {allowed}")
    for i, u in enumerate(source):
        if not 0 <= u < len(inputs):
            raise ValueError(f"mixed_sum: source[{i}] is {u}, but there are {len(inputs)} inputs")
    if len(norm) != len(inputs):
        raise ValueError(f"mixed_sum: norm has {len(norm)} entries for {len(inputs)} inputs")
    if keep is not None:
        _check_device(first, keep, "keep")
        if keep.dtype != torch.bool or keep.shape != weights.shape:
            raise ValueError(f"mixed_sum: keep is {keep.dtype} {list(keep.shape)}; it must be torch.bool [{terms}]")


def _check_norm(first: Tensor, norm: Sequence[int], mean: Tensor | None, rstd: Tensor | None) -> None:
    for u, kind in enumerate(norm):
        if kind not in _NORMS:
            raise ValueError(f"mixed_sum: norm[{u}] is {kind}; allowed are 0 (none), 1 (batch) and 2 (fixed)")
    if (mean is None) != (rstd is None):
        raise ValueError("mixed_sum: mean and rstd belong together: give both or neither")
    if any(kind != Norm.NONE for kind in norm) and first.dim() < 2:
        raise ValueError(f"mixed_sum: inputs are {list(first.shape)}; normalisation needs [N, C, ...]")
    if mean is None or rstd is None:
        if Norm.FIXED in norm:
            raise ValueError("mixed_sum: fixed statistics need mean and rstd")
        return
    if first.dim() < 2:
        raise ValueError(f"mixed_sum: inputs are {list(first.shape)}; statistics need [N, C, ...]")
    shape, dtype = (len(norm), first.shape[1]), accumulation_dtype(first.dtype)
    for name, x in (("mean", mean), ("rstd", rstd)):
        _check_device(first, x, name)
        if x.shape != shape or x.dtype != dtype:
            raise ValueError(f"mixed_sum: {name} is {x.dtype} {list(x.shape)}; it must be {dtype} {list(shape)}")


def check_types(inputs: Sequence[Any], weights: Any, statistics: Any, keep: Any, eps: Any) -> None:
    """TypeError names what is no tensor; ValueError what is no pair, or no number for eps. They would otherwise fail
    before the operator runs, which checks the rest."""
    for i, x in enumerate(inputs):
        _check_tensor(f"inputs[{i}]", x)
    _check_tensor("weights", weights)
    if keep is not None:
        _check_tensor("keep", keep)
    if statistics is not None:
        if not isinstance(statistics, (tuple, list)) or len(statistics) != 2:
            raise ValueError("mixed_sum: statistics must be a pair of tensors, (mean, rstd)")
        for name, x in zip(("mean", "rstd"), statistics, strict=True):
            if x is not None:
                _check_tensor(name, x)
    if not isinstance(eps, numbers.Real) or not 0 <= float(eps) < math.inf:
        raise ValueError(f"mixed_sum: eps is {eps}; it must be a finite number, at least 0")


def _check_tensor(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"mixed_sum: {name} is {type(x).__name__}; it must be a torch.Tensor")
