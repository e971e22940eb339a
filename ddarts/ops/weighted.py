"""The weighted sum of a node's candidate outputs: implementations, fake kernels, autograd, typed functions.

The mathematics is in ddarts_kernels/mixed_sum and csrc/; which implementation runs is in dispatch.py.
Legend: U inputs, C channels, n terms; term m weighs input source[m].
"""

from collections.abc import Sequence
from typing import Any

import torch
from ddarts_kernels.layout import accumulation_dtype, layout_of
from ddarts_kernels.mixed_sum.reference import Norm
from torch import Tensor

from ddarts.ops import dispatch, flops, schema
from ddarts.ops.weighted_checks import check, check_like, check_types, weight_dtypes

Statistics = tuple[Tensor, Tensor]


def mixed_sum(inputs: Sequence[Tensor], weights: Tensor, **options: Any) -> Tensor:
    """The sum of mixed_sum_with_statistics, which lists the options, without the statistics."""
    return mixed_sum_with_statistics(inputs, weights, **options)[0]


def under_autocast(device: torch.device) -> bool:
    """Whether autocast is on for a device; some, such as meta, know none, and torch refuses the question."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def mixed_sum_with_statistics(
    inputs: Sequence[Tensor],
    weights: Tensor,
    *,
    source: Sequence[int] | None = None,
    norm: Sequence[int] | None = None,
    statistics: Statistics | None = None,
    keep: Tensor | None = None,
    logits: bool = False,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """out = Σ_m w[m]·BN(inputs[source[m]]), differentiable once in the inputs and the weights: a node of a mixed cell
    (D-DARTS, arXiv 2108.09306) with the batch normalisation that its operations end in.

    inputs: U tensors of one shape (any, also with zeros; [N, C, ...] where there is BN), dtype (float32, float64,
        bfloat16, float16) and device. One that several terms read is given once.
    weights: n numbers (any shape, terms in row-major order), of the inputs' dtype, or float32 beside 16-bit inputs.
    source: the input of each term; default: term m reads inputs[m].
    norm: for each input Norm.NONE, BATCH (statistics of this batch; gradients run through them) or FIXED (given
        statistics, constants); default: none. BN has no weights of its own here.
    statistics: (mean, rstd), [U, C] of float32 (float64 for float64), rstd = 1/sqrt(variance + eps). They get no
        gradient: given batch statistics must be those of the inputs. Without them, those of BATCH inputs are
        computed here.
    keep: bool, n; terms marked False are left out, and an input that no kept term reads is not looked at.
    logits: the weights are logits, and σ is applied here.
    eps: added to the variance where statistics are computed here.

    Returns the sum and the computed mean and rstd [U, C] (empty where nothing was computed; rows of inputs without BN,
    or left out, hold 0 and 1). Sums are formed in float32 (float64 for float64); the result has the inputs' dtype and
    the first input's layout (channels_last or contiguous), the gradient of the weights their dtype. A weight of zero is
    not left out: 0 * inf is NaN.

    Under autocast, inputs of different floating types are promoted to the widest, as torch.stack does there.
    Forward-mode differentiation (torch.func.jvp, forward_ad) and a second derivative are not supported.
    Raises ValueError that names what does not fit, TypeError where something is no tensor.
    """
    tensors = list(inputs)
    check_types(tensors, weights, statistics, keep, eps)
    weights = weights.reshape(-1)
    if tensors and under_autocast(tensors[0].device):
        tensors, weights = _promote(tensors, weights)
    mean, rstd = (None, None) if statistics is None else statistics
    return torch.ops.ddarts.mixed_sum.default(
        tensors,
        weights,
        list(range(len(tensors)) if source is None else source),
        list([Norm.NONE] * len(tensors) if norm is None else norm),
        mean,
        rstd,
        None if keep is None else keep.reshape(-1),
        logits,
        eps,
    )


def _promote(tensors: list[Tensor], weights: Tensor) -> tuple[list[Tensor], Tensor]:
    widest = tensors[0].dtype
    for x in tensors[1:]:
        widest = torch.promote_types(widest, x.dtype)
    if weights.dtype not in weight_dtypes(widest):
        weights = weights.to(widest)
    return [x.to(widest) for x in tensors], weights


def _forward(inputs: list[Tensor], weights: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    check(inputs, weights, *options[:5])
    return dispatch.pick("mixed_sum", inputs[0].device.type, inputs, weights)(inputs, weights, *options)


def _backward(grad: Tensor, inputs: list[Tensor], weights: Tensor, *options: Any) -> tuple[list[Tensor], Tensor]:
    check(inputs, weights, *options[:5])
    check_like(inputs[0], grad, "grad")
    return dispatch.pick("mixed_sum_backward", grad.device.type, grad, inputs, weights)(grad, inputs, weights, *options)


def _forward_fake(
    inputs: list[Tensor],
    weights: Tensor,
    source: list[int],
    norm: list[int],
    mean: Tensor | None,
    rstd: Tensor | None,
    keep: Tensor | None,
    logits: bool,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    check(inputs, weights, source, norm, mean, rstd, keep)
    first = inputs[0]
    shape = (len(inputs), first.shape[1]) if mean is None and Norm.BATCH in norm else (0,)
    mean, rstd = (first.new_empty(shape, dtype=accumulation_dtype(first.dtype)) for _ in range(2))
    return torch.empty_like(first, memory_format=layout_of(first)), mean, rstd


def _backward_fake(
    grad: Tensor,
    inputs: list[Tensor],
    weights: Tensor,
    source: list[int],
    norm: list[int],
    mean: Tensor | None,
    rstd: Tensor | None,
    keep: Tensor | None,
    logits: bool,
    wanted: list[int],
    need_weights: bool,
) -> tuple[list[Tensor], Tensor]:
    check(inputs, weights, source, norm, mean, rstd, keep)
    check_like(inputs[0], grad, "grad")
    layout = layout_of(inputs[0])
    grad_inputs = [torch.empty_like(grad, memory_format=layout) for _ in wanted]
    return grad_inputs, weights.new_empty(weights.shape if need_weights else 0)


class _MixedSum(torch.autograd.Function):
    """Derivatives, as a Function of flat arguments. torch.library.register_autograd would do the same, but what it
    spends on packing and unpacking lists is more than a small node takes."""

    @staticmethod
    def forward(ctx: Any, options: tuple[Any, ...], weights: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        source, norm, mean, rstd, keep, logits, _ = options
        with torch._C._AutoDispatchBelowAutograd():
            output = torch.ops.ddarts.mixed_sum.default(list(inputs), weights, *options)
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.count, ctx.terms, ctx.layout = len(inputs), (source, norm, logits), layout_of(inputs[0])
        if mean is None and output[1].dim() == 2:
            mean, rstd = output[1:]
        # Only the gradients of the weights and of batch statistics read the inputs: else they need not be kept alive.
        read = weights.requires_grad or Norm.BATCH in norm
        ctx.save_for_backward(weights, mean, rstd, keep, *(inputs if read else ()))
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
        if grad is None:
            return None, None, *[None] * ctx.count
        weights, mean, rstd, keep, *inputs = ctx.saved_tensors
        source, norm, logits = ctx.terms
        need_weights, *flags = ctx.needs_input_grad[1:]
        wanted = [u for u, want in enumerate(flags) if want]
        if not inputs and layout_of(grad) != ctx.layout:
            grad = grad.contiguous(memory_format=ctx.layout)
        stand_in = inputs or [grad] * ctx.count  # right in number, shape, dtype and layout; the values are not read
        found, grad_weights = torch.ops.ddarts.mixed_sum_backward.default(
            grad, stand_in, weights, source, norm, mean, rstd, keep, logits, wanted, need_weights
        )
        grad_inputs: list[Tensor | None] = [None] * ctx.count
        for u, x in zip(wanted, found, strict=True):
            grad_inputs[u] = x
        return None, grad_weights if need_weights else None, *grad_inputs


class _FirstOnly(torch.autograd.Function):
    """mixed_sum_backward, which has no derivative of its own."""

    @staticmethod
    def forward(ctx: Any, options: tuple[Any, ...], grad: Tensor, weights: Tensor, *inputs: Tensor) -> tuple[Any, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            found, grad_weights = torch.ops.ddarts.mixed_sum_backward.default(grad, list(inputs), weights, *options)
        return grad_weights, *found

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(
            "ddarts::mixed_sum cannot be differentiated twice: drop create_graph=True, or write the sum in plain torch"
        )


def _forward_autograd(inputs: list[Tensor], weights: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:
    if torch.is_grad_enabled():
        return _MixedSum.apply(options, weights, *inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.ddarts.mixed_sum.default(inputs, weights, *options)


def _backward_autograd(
    grad: Tensor, inputs: list[Tensor], weights: Tensor, *options: Any
) -> tuple[list[Tensor], Tensor]:
    if torch.is_grad_enabled():
        grad_weights, *found = _FirstOnly.apply(options, grad, weights, *inputs)
        return found, grad_weights
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.ddarts.mixed_sum_backward.default(grad, inputs, weights, *options)


def _cuda_takes(inputs: Sequence[Tensor], weights: Tensor, *_: Any) -> bool:
    return len(inputs) <= 128 and weights.shape[0] <= 1024  # kMaxInputs and kMaxTerms of csrc/cuda


def _register() -> None:
    schema.define_all()
    dispatch.register_all("mixed_sum", "mixed_sum", "forward", cuda_takes=_cuda_takes)
    dispatch.register_all(
        "mixed_sum_backward", "mixed_sum", "backward", cuda_takes=lambda grad, *rest: _cuda_takes(*rest)
    )
    torch.library.impl("ddarts::mixed_sum", "default", _forward)
    torch.library.impl("ddarts::mixed_sum_backward", "default", _backward)
    torch.library.register_fake("ddarts::mixed_sum", _forward_fake)
    torch.library.register_fake("ddarts::mixed_sum_backward", _backward_fake)
    torch.library.impl("ddarts::mixed_sum", "Autograd", _forward_autograd)
    torch.library.impl("ddarts::mixed_sum_backward", "Autograd", _backward_autograd)
    flops.register()


_register()
