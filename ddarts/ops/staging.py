"""What a cell makes of one of its states, and the sums of a node's backward: implementations and fake kernels.

The mathematics is in ddarts_kernels/{stage,pools,mixed_sum} and csrc/; which implementation runs is in dispatch.py.
No autograd: whoever calls these (supernet/fused.py) calls forward and backward itself.
Legend: E edges, S kinds of kernel, X inputs, N images, H, W pixels (h, w after the stride), C channels, U inputs of a
node; pixels are stored channels last, [..., H, W, C].
"""

from collections.abc import Callable
from typing import Any

import torch
from ddarts_kernels.layout import accumulation_dtype
from torch import Tensor

from ddarts.ops import dispatch, schema
from ddarts.ops.staging_checks import (
    check_pools,
    check_pools_backward,
    check_stage,
    check_stage_backward,
    check_sums,
    pooled,
)

OPERATORS = {
    "stage": ("stage", "forward"),
    "stage_backward": ("stage", "backward"),
    "pools": ("pools", "forward"),
    "pools_backward": ("pools", "backward"),
    "channel_sums": ("mixed_sum", "sums"),
}


def run(op: str, device: torch.device, *arguments: Any) -> Any:
    """The chosen implementation itself: without checks, and without the way through torch.library."""
    return dispatch.pick(op, device.type, *arguments)(*arguments)


def _stage(x: Tensor, depthwise: list[Tensor], pointwise: list[Tensor], *rest: Any) -> tuple[Any, ...]:
    check_stage("stage", x, depthwise, pointwise, *rest[:-1])
    return run("stage", x.device, x, depthwise, pointwise, *rest)


def _stage_fake(
    x: Tensor, depthwise: list[Tensor], pointwise: list[Tensor], dilation: list[int], stride: int, *rest: Any
) -> tuple[list[Tensor], Tensor, Tensor]:
    check_stage("stage", x, depthwise, pointwise, dilation, stride, *rest[:-1])
    _, images, height, width, channels = x.shape
    edges = depthwise[0].shape[0]
    shape = (edges, images, pooled(height, stride), pooled(width, stride), channels)
    mean, rstd = (_wide(x, (len(depthwise), edges, channels)) for _ in range(2))
    return [x.new_empty(shape) for _ in depthwise], mean, rstd


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
    return x.new_empty(x.shape), taps, mixes, _wide(x, (0,) if mean is None else (x.shape[0], 2, x.shape[4]))


def _check_stage_backward(
    grads: list[Tensor], y: list[Tensor], coefficients: Tensor, x: Tensor, depthwise: list[Tensor], *rest: Any
) -> None:
    check_stage("stage_backward", x, depthwise, *rest[:-1])
    check_stage_backward(grads, y, coefficients, x, depthwise[0].shape[0], len(depthwise), rest[2])


def _pools(x: Tensor, stride: int, eps: float) -> tuple[Tensor, ...]:
    check_pools(x, stride)
    return run("pools", x.device, x, stride, eps)


def _pools_fake(x: Tensor, stride: int, eps: float) -> tuple[Tensor, ...]:
    check_pools(x, stride)
    shape = (x.shape[0], pooled(x.shape[1], stride), pooled(x.shape[2], stride), x.shape[3])
    index = x.new_empty(shape, dtype=torch.uint8)
    return x.new_empty(shape), x.new_empty(shape), index, *(_wide(x, (2, x.shape[3])) for _ in range(2))


def _pools_backward(grads: list[Tensor], most: Tensor, *rest: Any) -> Tensor:
    check_pools_backward(grads, most, *rest)
    return run("pools_backward", most.device, grads, most, *rest)


def _pools_backward_fake(grads: list[Tensor], most: Tensor, *rest: Any) -> Tensor:
    check_pools_backward(grads, most, *rest)
    *_, height, width, _ = rest
    return most.new_empty((most.shape[0], height, width, most.shape[3]))


def _sums(grad: Tensor, inputs: list[Tensor], *rest: Any) -> tuple[Tensor, Tensor]:
    check_sums(grad, inputs, *rest)
    return run("channel_sums", grad.device, grad, inputs, *rest)


def _sums_fake(grad: Tensor, inputs: list[Tensor], *rest: Any) -> tuple[Tensor, Tensor]:
    check_sums(grad, inputs, *rest)
    channels = grad.shape[1]
    return _wide(grad, (channels,)), _wide(grad, (len(inputs), channels))


def _wide(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return like.new_empty(shape, dtype=accumulation_dtype(like.dtype))


def _register() -> None:
    schema.define_all()
    functions: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "stage": (_stage, _stage_fake),
        "stage_backward": (_stage_backward, _stage_backward_fake),
        "pools": (_pools, _pools_fake),
        "pools_backward": (_pools_backward, _pools_backward_fake),
        "channel_sums": (_sums, _sums_fake),
    }
    for op, (forward, fake) in functions.items():
        dispatch.register_all(op, *OPERATORS[op], gpu=False)
        torch.library.impl(f"ddarts::{op}", "default", forward)
        torch.library.register_fake(f"ddarts::{op}", fake)


_register()
