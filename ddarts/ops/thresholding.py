"""Sparse thresholding of a stack of α: implementations, fake kernel, typed function.

The mathematics is in ddarts_kernels/threshold and csrc/; which implementation runs is in dispatch.py.
Legend: S cells, E edges, K operations, R rows of the table.
"""

from typing import Any

import torch
from ddarts_kernels.threshold import reference
from ddarts_kernels.threshold.reference import Method
from torch import Tensor

from ddarts.ops import dispatch, schema

METHODS = tuple(method.name.lower() for method in Method)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def threshold(
    alphas: Tensor, steps: int, method: str = "threshold_sparse", value: float = 0.85, *, logits: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Which operations of a stack of cells stay, found on the device of α without waiting for it.

    alphas: mixing weights σ(α), [S, E, K] with the E = steps(steps + 3)/2 edges of a cell, or α with logits=True.
    method: darts, threshold_sparse, threshold_edge or threshold_complete. value: the threshold that a mixing weight
    must reach; compared in float64.

    Returns keep, bool [S, E, K]; table, int32 [S, R, 3]: a row (node, source, operation) for every operation that
    stays, in the order of the genotype, -1 after the last; counts, int32 [S]: rows in use. Ties: the first operation
    is an edge's best, edges of equal best operation keep their order, of equal operations threshold_edge takes the
    later ones. A NaN is below every number. With logits=True, σ may differ in the last bit of float64 between backends.
    No gradients. Raises ValueError, or TypeError for what is no tensor, that names what does not fit.
    """
    if not isinstance(alphas, Tensor):
        raise TypeError(f"threshold: alphas is {type(alphas).__name__}; it must be a torch.Tensor")
    if method not in METHODS:
        raise ValueError(f"threshold: method is {method!r}; allowed are {', '.join(METHODS)}")
    return torch.ops.ddarts.threshold.default(alphas.detach(), steps, METHODS.index(method), value, logits)


def _check(alphas: Tensor, steps: int, method: int) -> None:
    if alphas.dtype not in _FLOATS:
        raise ValueError(f"threshold: alphas is {alphas.dtype}; allowed are {', '.join(map(str, _FLOATS))}")
    if method not in tuple(Method):
        raise ValueError(f"threshold: method is {method}; allowed are 0 to {len(Method) - 1}")
    edges = steps * (steps + 3) // 2
    if steps < 1 or alphas.dim() != 3 or alphas.shape[1] != edges or alphas.shape[2] < 1:
        raise ValueError(f"threshold: alphas is {list(alphas.shape)}; it must be [cells, {edges}, operations]")


def _forward(alphas: Tensor, steps: int, method: int, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    _check(alphas, steps, method)
    return dispatch.pick("threshold", alphas.device.type, alphas, steps)(alphas, steps, method, *options)


def _fake(alphas: Tensor, steps: int, method: int, value: float, logits: bool) -> tuple[Tensor, Tensor, Tensor]:
    _check(alphas, steps, method)
    cells, _, operations = alphas.shape
    table = alphas.new_empty((cells, reference.rows(method, steps, operations), 3), dtype=torch.int32)
    keep = torch.empty(alphas.shape, dtype=torch.bool, device=alphas.device)
    return keep, table, alphas.new_empty(cells, dtype=torch.int32)


def _cuda_takes(alphas: Tensor, steps: int, *_: Any) -> bool:
    return steps <= 128  # kMaxSteps of csrc/cuda


def _register() -> None:
    schema.define_all()
    dispatch.register_all("threshold", "threshold", "threshold", cuda_takes=_cuda_takes)
    torch.library.impl("ddarts::threshold", "default", _forward)
    torch.library.register_fake("ddarts::threshold", _fake)


_register()
