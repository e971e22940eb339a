"""What a cell makes of one of its states, a node's sum and the sums of its backward: implementations, fake kernels.

The mathematics is in ddarts_kernels/{stage,pools,project,mixed_sum} and csrc/; what runs is chosen in dispatch.py.
No autograd: whoever calls these (supernet/fused.py) calls forward and backward itself.
Legend: E edges, S kinds of kernel, X inputs, N images in G groups, H, W pixels (h, w after the stride), C channels, U
inputs of a node; pixels are stored channels last, [..., H, W, C].
"""

from collections.abc import Callable
from typing import Any

import torch
from ddarts_kernels.layout import accumulation_dtype, layout_of
from torch import Tensor

from ddarts.ops import dispatch, schema
from ddarts.ops.staging_checks import (
    check_node_sum,
    check_pools,
    check_pools_backward,
    check_project,
    check_project_backward,
    check_stage,
    check_stage_backward,
    check_stage_forward,
    check_statistics,
    check_sums,
    pooled,
)

OPERATORS = {
    "stage": ("stage", "forward"),
    "stage_backward": ("stage", "backward"),
    "pools": ("pools", "forward"),
    "pools_backward": ("pools", "backward"),
    "project": ("project", "forward"),
    "project_backward": ("project", "backward"),
    "channel_sums": ("mixed_sum", "sums"),
    "node_sum": ("mixed_sum", "node_sum"),
}


def run(op: str, device: torch.device, *arguments: Any) -> Any:
    """The chosen implementation itself: without checks, and without the way through torch.library."""
    return dispatch.pick(op, device.type, *arguments)(*arguments)


class Runner:
    """`run` for one pass, in which the choice does not change: made once for each operator."""

    def __init__(self, device: torch.device) -> None:
        self._device = device.type
        self._chosen: dict[str, Callable[..., Any]] = {}

    def __call__(self, op: str, *arguments: Any) -> Any:
        if op not in self._chosen:
            self._chosen[op] = dispatch.pick(op, self._device, *arguments)
        return self._chosen[op](*arguments)


def _stage(x: Tensor, depthwise: list[Tensor], pointwise: list[Tensor], *rest: Any) -> tuple[Any, ...]:
    check_stage_forward(x, depthwise, pointwise, *rest)
    return run("stage", x.device, x, depthwise, pointwise, *rest)


def _stage_fake(
    x: Tensor,
    depthwise: list[Tensor],
    pointwise: list[Tensor],
    dilation: list[int],
    stride: int,
    mean: Tensor | None,
    rstd: Tensor | None,
    eps: float,
    groups: int,
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    check_stage_forward(x, depthwise, pointwise, dilation, stride, mean, rstd, eps, groups, dtype)
    _, images, height, width, channels = x.shape
    edges = depthwise[0].shape[0]
    shape = (edges, images, pooled(height, stride), pooled(width, stride), channels)
    mean, rstd = (_wide(x, (groups, len(depthwise), edges, channels)) for _ in range(2))
    return [x.new_empty(shape, dtype=dtype) for _ in depthwise], mean, rstd


def _stage_backward(*arguments: Any) -> tuple[Any, ...]:
    _check_stage_backward(*arguments)
    return run("stage_backward", arguments[3].device, *arguments)


def _stage_backward_fake(
    grads: list[Tensor],
    y: list[Tensor],
    coefficients: Tensor,
    x: Tensor,
    depthwise: list[Tensor],
    pointwise: list[Tensor],
    *rest: Any,
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    _check_stage_backward(grads, y, coefficients, x, depthwise, pointwise, *rest)
    *_, mean, _, need_weights = rest
    taps, mixes = ([w.new_empty(w.shape) for w in group if need_weights] for group in (depthwise, pointwise))
    return grads[0].new_empty(x.shape), taps, mixes, _wide(x, (0,) if mean is None else (x.shape[0], 2, x.shape[4]))


def _check_stage_backward(
    grads: list[Tensor], y: list[Tensor], coefficients: Tensor, x: Tensor, depthwise: list[Tensor], *rest: Any
) -> None:
    check_stage("stage_backward", x, depthwise, *rest[:3])
    check_statistics("stage_backward", x, (x.shape[0], x.shape[4]), *rest[3:5])
    check_stage_backward(grads, y, coefficients, x, depthwise[0].shape[0], len(depthwise), rest[2])


def _pools(x: Tensor, stride: int, eps: float, groups: int) -> tuple[Tensor, ...]:
    check_pools(x, stride, groups)
    return run("pools", x.device, x, stride, eps, groups)


def _pools_fake(x: Tensor, stride: int, eps: float, groups: int) -> tuple[Tensor, ...]:
    check_pools(x, stride, groups)
    shape = (x.shape[0], pooled(x.shape[1], stride), pooled(x.shape[2], stride), x.shape[3])
    index = x.new_empty(shape, dtype=torch.uint8)
    return x.new_empty(shape), x.new_empty(shape), index, *(_wide(x, (groups, 2, x.shape[3])) for _ in range(2))


def _pools_backward(grads: list[Tensor], most: Tensor, *rest: Any) -> Tensor:
    check_pools_backward(grads, most, *rest)
    return run("pools_backward", most.device, grads, most, *rest)


def _pools_backward_fake(grads: list[Tensor], most: Tensor, *rest: Any) -> Tensor:
    check_pools_backward(grads, most, *rest)
    *_, height, width, _ = rest
    return most.new_empty((most.shape[0], height, width, most.shape[3]))


def _project(x: Tensor, weights: list[Tensor], stride: int, eps: float, groups: int) -> tuple[Tensor, ...]:
    check_project("project", x, weights, stride, groups)
    return run("project", x.device, x, weights, stride, eps, groups)


def _project_fake(x: Tensor, weights: list[Tensor], stride: int, eps: float, groups: int) -> tuple[Tensor, ...]:
    shape = check_project("project", x, weights, stride, groups)
    return x.new_empty(shape), *(_wide(x, (groups, shape[0], shape[4])) for _ in range(2))


def _project_backward(grads: list[Tensor], *rest: Any) -> tuple[Any, ...]:
    check_project_backward(grads, *rest)
    return run("project_backward", rest[0].device, grads, *rest)


def _project_backward_fake(grads: list[Tensor], *rest: Any) -> tuple[Tensor, list[Tensor]]:
    check_project_backward(grads, *rest)
    _, _, x, weights, _, need_weights = rest
    return x.new_empty(x.shape), [w.new_empty(w.shape) for w in weights if need_weights]


def _sums(grad: Tensor, inputs: list[Tensor], *rest: Any) -> tuple[Tensor, Tensor]:
    check_sums(grad, inputs, *rest)
    return run("channel_sums", grad.device, grad, inputs, *rest)


def _sums_fake(grad: Tensor, inputs: list[Tensor], *rest: Any) -> tuple[Tensor, Tensor]:
    check_sums(grad, inputs, *rest)
    channels = grad.shape[1]
    return _wide(grad, (channels,)), _wide(grad, (len(inputs), channels))


def _node_sum(inputs: list[Tensor], weights: Tensor, *rest: Any) -> Tensor:
    check_node_sum(inputs, weights, *rest)
    return run("node_sum", weights.device, inputs, weights, *rest)


def _node_sum_fake(inputs: list[Tensor], weights: Tensor, *rest: Any) -> Tensor:
    images = check_node_sum(inputs, weights, *rest)
    first = inputs[0]
    return weights.new_empty((images, *first.shape[1:])).contiguous(memory_format=layout_of(first))


def _wide(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return like.new_empty(shape, dtype=accumulation_dtype(like.dtype))


def _register() -> None:
    schema.define_all()
    functions: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "stage": (_stage, _stage_fake),
        "stage_backward": (_stage_backward, _stage_backward_fake),
        "pools": (_pools, _pools_fake),
        "pools_backward": (_pools_backward, _pools_backward_fake),
        "project": (_project, _project_fake),
        "project_backward": (_project_backward, _project_backward_fake),
        "channel_sums": (_sums, _sums_fake),
        "node_sum": (_node_sum, _node_sum_fake),
    }
    for op, (forward, fake) in functions.items():
        dispatch.register_all(op, *OPERATORS[op], cuda=False)
        torch.library.impl(f"ddarts::{op}", "default", forward)
        torch.library.register_fake(f"ddarts::{op}", fake)


_register()
