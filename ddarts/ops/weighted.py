"""The weighted sum of a node's candidate outputs: checks, implementations, fake kernels, autograd, typed function.

The mathematics is in ddarts_kernels/mixed_sum and csrc/cpu/mixed_sum.cpp; which of them runs is in dispatch.py.
"""

from collections.abc import Sequence
from typing import Any

import torch
from ddarts_kernels.mixed_sum import reference
from torch import Tensor

from ddarts.ops import dispatch, schema

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_HALVES = (torch.bfloat16, torch.float16)


def mixed_sum(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """out = sum_i weights[i] inputs[i], differentiable once in the inputs and the weights.

    `inputs`: n tensors of one shape (any, also with zeros), dtype (float32, float64, bfloat16, float16) and device.
    `weights`: [n], of the inputs' dtype, or float32 beside 16-bit inputs. Sums are formed in float32 (float64 for
    float64) and returned in the inputs' dtype and the first input's layout (channels_last or contiguous); the
    gradient of the weights has their dtype. A weight of zero is not skipped: 0 * inf is NaN.

    Under autocast, inputs of different floating types are promoted to the widest, as torch.stack does there.
    Raises ValueError that names what does not fit.
    """
    tensors = list(inputs)
    if tensors and torch.is_autocast_enabled(tensors[0].device.type):
        tensors, weights = _promote(tensors, weights)
    return torch.ops.ddarts.mixed_sum.default(tensors, weights)


def _promote(tensors: list[Tensor], weights: Tensor) -> tuple[list[Tensor], Tensor]:
    widest = tensors[0].dtype
    for x in tensors[1:]:
        widest = torch.promote_types(widest, x.dtype)
    if weights.dtype not in _weight_dtypes(widest):
        weights = weights.to(widest)
    return [x.to(widest) for x in tensors], weights


def _weight_dtypes(dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    return (dtype, torch.float32) if dtype in _HALVES else (dtype,)


def _check(inputs: Sequence[Tensor], weights: Tensor) -> None:
    if not inputs:
        raise ValueError("mixed_sum: inputs is an empty list; it needs at least one tensor")
    first = inputs[0]
    if first.dtype not in _FLOATS:
        raise ValueError(f"mixed_sum: inputs are {first.dtype}; allowed are {', '.join(map(str, _FLOATS))}")
    for i, x in enumerate(inputs):
        _check_like(first, x, f"inputs[{i}]")
    if weights.dim() != 1 or weights.shape[0] != len(inputs):
        raise ValueError(f"mixed_sum: weights is {list(weights.shape)}; it must be [{len(inputs)}], one for each input")
    if weights.device != first.device:
        raise ValueError(f"mixed_sum: weights is on {weights.device} but inputs[0] is on {first.device}")
    if weights.dtype not in _weight_dtypes(first.dtype):
        allowed = " or ".join(map(str, _weight_dtypes(first.dtype)))
        raise ValueError(f"mixed_sum: weights is {weights.dtype} but inputs are {first.dtype}; it must be {allowed}")


def _check_like(first: Tensor, x: Tensor, name: str) -> None:
    if x.device != first.device:
        raise ValueError(f"mixed_sum: {name} is on {x.device} but inputs[0] is on {first.device}")
    if x.dtype != first.dtype:
        raise ValueError(f"mixed_sum: {name} is {x.dtype} but inputs[0] is {first.dtype}")
    if x.shape != first.shape:
        raise ValueError(f"mixed_sum: {name} is {list(x.shape)} but inputs[0] is {list(first.shape)}")


def _forward(inputs: list[Tensor], weights: Tensor) -> Tensor:
    _check(inputs, weights)
    return dispatch.pick("mixed_sum", inputs[0].device.type)(inputs, weights)


def _backward(
    grad: Tensor, inputs: list[Tensor], weights: Tensor, need_inputs: bool, need_weights: bool
) -> tuple[list[Tensor], Tensor]:
    _check(inputs, weights)
    _check_like(inputs[0], grad, "grad")
    run = dispatch.pick("mixed_sum_backward", grad.device.type)
    return run(grad, inputs, weights, need_inputs, need_weights)


def _forward_fake(inputs: list[Tensor], weights: Tensor) -> Tensor:
    _check(inputs, weights)
    first = inputs[0]
    return torch.empty_like(first, memory_format=reference.layout_of(first))


def _backward_fake(
    grad: Tensor, inputs: list[Tensor], weights: Tensor, need_inputs: bool, need_weights: bool
) -> tuple[list[Tensor], Tensor]:
    _check(inputs, weights)
    _check_like(inputs[0], grad, "grad")
    layout = reference.layout_of(inputs[0])
    grad_inputs = [torch.empty_like(grad, memory_format=layout) for _ in inputs] if need_inputs else []
    return grad_inputs, weights.new_empty(weights.shape if need_weights else 0)


def _save(ctx: Any, inputs: tuple[list[Tensor], Tensor], output: Tensor) -> None:
    tensors, weights = inputs
    ctx.count = len(tensors)
    # Only the gradient of the weights reads the inputs; without it they need not be kept alive.
    ctx.save_for_backward(weights, *(tensors if weights.requires_grad else ()))


def _differentiate(ctx: Any, grad: Tensor) -> tuple[list[Tensor | None], Tensor | None]:
    weights, *inputs = ctx.saved_tensors
    wanted, need_weights = ctx.needs_input_grad
    need_inputs = any(wanted)
    stand_in = inputs or [grad] * ctx.count  # right in number, shape and dtype; the values are not read
    grad_inputs, grad_weights = torch.ops.ddarts.mixed_sum_backward.default(
        grad, stand_in, weights, need_inputs, need_weights
    )
    kept = [g if want else None for g, want in zip(grad_inputs, wanted, strict=True)] if need_inputs else None
    return kept or [None] * ctx.count, grad_weights if need_weights else None


def _refuse_second(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "ddarts::mixed_sum cannot be differentiated twice: drop create_graph=True, or write the sum in plain torch"
    )


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """The second derivative only raises, so it needs no tensors."""


def _register() -> None:
    schema.define_all()
    dispatch.register("mixed_sum", "reference", reference.forward)
    dispatch.register("mixed_sum", "cpp", torch.ops.ddarts_cpp.mixed_sum.default, ("cpu",))
    dispatch.register("mixed_sum_backward", "reference", reference.backward)
    dispatch.register("mixed_sum_backward", "cpp", torch.ops.ddarts_cpp.mixed_sum_backward.default, ("cpu",))
    torch.library.impl("ddarts::mixed_sum", "default", _forward)
    torch.library.impl("ddarts::mixed_sum_backward", "default", _backward)
    torch.library.register_fake("ddarts::mixed_sum", _forward_fake)
    torch.library.register_fake("ddarts::mixed_sum_backward", _backward_fake)
    torch.library.register_autograd("ddarts::mixed_sum", _differentiate, setup_context=_save)
    torch.library.register_autograd("ddarts::mixed_sum_backward", _refuse_second, setup_context=_save_nothing)


_register()
