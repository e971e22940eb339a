"""What the stage and pooling operators refuse, in one line that names the argument.

Legend: E edges, S kinds of kernel, X inputs, N images, H, W pixels (h, w after the stride), K kernel size, C channels,
U inputs of a node. What is read beside float32, such as the outputs of stages, may be stored in half precision.
"""

from collections.abc import Sequence

import torch
from ddarts_kernels.layout import accumulation_dtype
from torch import Tensor

from ddarts.ops.weighted_checks import FLOATS


def pooled(size: int, stride: int) -> int:
    """h of H: what a kernel with padding that keeps the size at stride 1 leaves."""
    return (size - 1) // stride + 1


def stored(dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    """How numbers of this dtype may be stored: as they are, or float32 in half precision."""
    return (dtype, torch.float16) if dtype == torch.float32 else (dtype,)


def check_stage(
    op: str,
    x: Tensor,
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    dilation: Sequence[int],
    stride: int,
) -> None:
    """ValueError names what does not fit of what both passes take."""
    _check_state(op, "x", x, 5, "[X, N, H, W, C]")
    _check_stride(op, stride)
    kinds = len(depthwise)
    if not kinds or len(pointwise) != kinds or len(dilation) != kinds:
        raise ValueError(
            f"{op}: depthwise, pointwise and dilation hold {kinds}, {len(pointwise)} and {len(dilation)} kinds; "
            "they must hold as many, at least one"
        )
    if depthwise[0].dim() != 4:
        raise ValueError(f"{op}: depthwise[0] is {list(depthwise[0].shape)}; it must be [E, K, K, C]")
    edges, channels, dtype = depthwise[0].shape[0], x.shape[4], depthwise[0].dtype
    if dtype != accumulation_dtype(x.dtype):  # parameters may be wider than activations
        dtype = x.dtype
    for s, (d, p, step) in enumerate(zip(depthwise, pointwise, dilation, strict=True)):
        size = d.shape[1] if d.dim() == 4 else 0
        if size % 2 == 0:
            raise ValueError(f"{op}: depthwise[{s}] is {list(d.shape)}; it must be [E, K, K, C] with an odd K")
        check_tensor(op, f"depthwise[{s}]", d, (edges, size, size, channels), dtype, x)
        check_tensor(op, f"pointwise[{s}]", p, (edges, channels, channels), dtype, x)
        if step < 1:
            raise ValueError(f"{op}: dilation[{s}] is {step}; it must be at least 1")
    if x.shape[0] not in (1, edges):
        raise ValueError(f"{op}: x holds {x.shape[0]} inputs; it must hold 1, or one for each of {edges} edges")


def check_stage_forward(
    x: Tensor,
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    dilation: Sequence[int],
    stride: int,
    mean: Tensor | None,
    rstd: Tensor | None,
    eps: float,
    groups: int,
    dtype: torch.dtype | None = None,
) -> None:
    """ValueError names what does not fit."""
    check_stage("stage", x, depthwise, pointwise, dilation, stride)
    _check_groups("stage", x.shape[1], groups)
    check_statistics("stage", x, (groups, x.shape[0], x.shape[4]), mean, rstd)
    if dtype not in (None, *stored(x.dtype)):
        raise ValueError(f"stage: dtype is {dtype}; for x of {x.dtype} it must be {_either(stored(x.dtype))}")


def check_statistics(op: str, x: Tensor, shape: tuple[int, ...], mean: Tensor | None, rstd: Tensor | None) -> None:
    """ValueError unless mean and rstd are both there in this shape, for numbers like `x`, or neither is."""
    if (mean is None) != (rstd is None):
        raise ValueError(f"{op}: mean and rstd belong together: give both or neither")
    for name, value in (("mean", mean), ("rstd", rstd)):
        if value is not None:
            check_tensor(op, name, value, shape, accumulation_dtype(x.dtype), x)


def check_stage_backward(
    grads: Sequence[Tensor], y: Sequence[Tensor], coefficients: Tensor, x: Tensor, edges: int, kinds: int, stride: int
) -> None:
    """ValueError names what does not fit; x, edges, kinds and stride have been checked."""
    op, (_, images, height, width, channels) = "stage_backward", x.shape
    out = (images, pooled(height, stride), pooled(width, stride), channels)
    if len(grads) != kinds * edges or len(y) != kinds:
        raise ValueError(
            f"{op}: grads and y hold {len(grads)} and {len(y)} tensors; {kinds} kinds on {edges} edges need "
            f"{kinds * edges} and {kinds}"
        )
    slope = grads[0].dtype
    if x.dtype not in stored(slope):
        raise ValueError(f"{op}: grads[0] is {slope}; beside x of {x.dtype} it must be {_either(_beside(x.dtype))}")
    for i, g in enumerate(grads):
        check_tensor(op, f"grads[{i}]", g, out, slope, x)
    for s, value in enumerate(y):
        check_tensor(op, f"y[{s}]", value, (edges, *out), y[0].dtype if s else stored(slope), x)
    check_tensor(op, "coefficients", coefficients, (kinds, edges, 3, channels), accumulation_dtype(x.dtype), x)


def check_pools(x: Tensor, stride: int, groups: int) -> None:
    """ValueError names what does not fit."""
    _check_state("pools", "x", x, 4, "[N, H, W, C]")
    _check_stride("pools", stride)
    _check_groups("pools", x.shape[0], groups)


def check_pools_backward(
    grads: Sequence[Tensor],
    most: Tensor,
    average: Tensor,
    index: Tensor,
    coefficients: Tensor,
    height: int,
    width: int,
    stride: int,
) -> None:
    """ValueError names what does not fit."""
    op = "pools_backward"
    _check_state(op, "most", most, 4, "[N, h, w, C]")
    _check_stride(op, stride)
    shape, out = tuple(most.shape), (pooled(height, stride), pooled(width, stride))
    if shape[1:3] != out:
        raise ValueError(f"{op}: most is {list(shape)}, but {height}x{width} pixels leave {out[0]}x{out[1]}")
    check_tensor(op, "average", average, shape, most.dtype, most)
    check_tensor(op, "index", index, shape, torch.uint8, most)
    for e, g in enumerate(grads):
        check_tensor(op, f"grads[{e}]", g, shape, most.dtype, most)
    expected = (2, len(grads) + 2, shape[3])
    check_tensor(op, "coefficients", coefficients, expected, accumulation_dtype(most.dtype), most)


def check_project(op: str, x: Tensor, weights: Sequence[Tensor], stride: int, groups: int) -> tuple[int, ...]:
    """ValueError names what does not fit; else the shape of y [E, N, h, w, O]."""
    _check_state(op, "x", x, 4, "[N, H, W, I]")
    _check_stride(op, stride)
    _check_groups(op, x.shape[0], groups)
    if not weights or weights[0].dim() != 3 or 0 in weights[0].shape:
        raise ValueError(f"{op}: weights holds {[list(w.shape) for w in weights]}; it must hold tensors [E, o, I]")
    edges, outputs, _ = weights[0].shape
    for p, w in enumerate(weights):
        check_tensor(op, f"weights[{p}]", w, (edges, outputs, x.shape[3]), x.dtype, x)
    return edges, x.shape[0], pooled(x.shape[1], stride), pooled(x.shape[2], stride), len(weights) * outputs


def check_project_backward(
    grads: Sequence[Tensor],
    y: Tensor,
    coefficients: Tensor,
    x: Tensor,
    weights: Sequence[Tensor],
    stride: int,
    need_weights: bool,
) -> None:
    """ValueError names what does not fit."""
    op = "project_backward"
    shape = check_project(op, x, weights, stride, 1)
    if len(grads) != shape[0]:
        raise ValueError(f"{op}: grads holds {len(grads)} tensors; it must hold one for each of {shape[0]} edges")
    for e, g in enumerate(grads):
        check_tensor(op, f"grads[{e}]", g, shape[1:], x.dtype, x)
    check_tensor(op, "y", y, shape, x.dtype, x)
    check_tensor(op, "coefficients", coefficients, (shape[0], 3, shape[4]), accumulation_dtype(x.dtype), x)


def check_sums(
    grad: Tensor, inputs: Sequence[Tensor], norm: Sequence[int], mean: Tensor | None, rstd: Tensor | None
) -> None:
    """ValueError names what does not fit."""
    op = "channel_sums"
    if grad.dtype not in FLOATS or grad.dim() < 2:
        raise ValueError(f"{op}: grad is {grad.dtype} {list(grad.shape)}; it must be [N, C, ...] of floating numbers")
    if not inputs or len(norm) != len(inputs):
        raise ValueError(f"{op}: norm has {len(norm)} entries for {len(inputs)} inputs; at least one is needed")
    for u, x in enumerate(inputs):
        check_tensor(op, f"inputs[{u}]", x, tuple(grad.shape), stored(grad.dtype), grad)
    if (mean is None) != (rstd is None) or (mean is None and any(norm)):
        raise ValueError(f"{op}: normalised inputs need both mean and rstd")
    for name, value in (("mean", mean), ("rstd", rstd)):
        if value is not None:
            check_tensor(op, name, value, (len(inputs), grad.shape[1]), accumulation_dtype(grad.dtype), grad)


def check_node_sum(inputs: Sequence[Tensor], weights: Tensor, mean: Tensor | None, rstd: Tensor | None) -> int:
    """ValueError names what does not fit; else the number of all images."""
    op = "node_sum"
    if weights.dim() != 2 or 0 in weights.shape:
        raise ValueError(f"{op}: weights is {list(weights.shape)}; it must be [G, U]")
    groups, terms = weights.shape
    if not inputs or len(inputs) % terms:
        raise ValueError(f"{op}: inputs holds {len(inputs)} tensors; it must hold runs of {terms}, at least one")
    first = inputs[0]
    if weights.dtype not in FLOATS:
        raise ValueError(f"{op}: weights is {weights.dtype}; allowed are {', '.join(map(str, FLOATS))}")
    if first.dim() < 2:
        raise ValueError(f"{op}: inputs are {list(first.shape)}; they must be [N, C, ...]")
    for i, x in enumerate(inputs):
        shape = (inputs[i - i % terms].shape[0], *first.shape[1:])
        check_tensor(op, f"inputs[{i}]", x, shape, stored(weights.dtype), weights)
    images = sum(x.shape[0] for x in inputs[::terms])
    _check_groups(op, images, groups)
    for i in range(0, len(inputs), terms):
        if inputs[i].shape[0] % max(1, images // groups):
            raise ValueError(
                f"{op}: inputs[{i}] holds {inputs[i].shape[0]} images; it must hold whole groups of {images // groups}"
            )
    check_statistics(op, weights, (groups, terms, first.shape[1]), mean, rstd)
    return images


def check_tensor(
    op: str,
    name: str,
    x: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype | tuple[torch.dtype, ...],
    first: Tensor,
) -> None:
    """ValueError unless `x` has this shape and (one of) this dtype and lies where `first` lies."""
    if x.device != first.device:
        raise ValueError(f"{op}: {name} is on {x.device}; it must be on {first.device}")
    allowed = dtype if isinstance(dtype, tuple) else (dtype,)
    if x.dtype not in allowed or tuple(x.shape) != shape:
        raise ValueError(f"{op}: {name} is {x.dtype} {list(x.shape)}; it must be {_either(allowed)} {list(shape)}")


def _either(dtypes: Sequence[torch.dtype]) -> str:
    return " or ".join(map(str, dtypes))


def _beside(dtype: torch.dtype) -> list[torch.dtype]:
    """Of what gradients may be beside activations stored like this."""
    return [wide for wide in FLOATS if dtype in stored(wide)]


def _check_state(op: str, name: str, x: Tensor, dims: int, form: str) -> None:
    if x.dtype not in FLOATS:
        raise ValueError(f"{op}: {name} is {x.dtype}; allowed are {', '.join(map(str, FLOATS))}")
    if x.dim() != dims:
        raise ValueError(f"{op}: {name} is {list(x.shape)}; it must be {form}")


def _check_groups(op: str, images: int, groups: int) -> None:
    if groups < 1 or images % groups:
        raise ValueError(f"{op}: groups is {groups}; it must be at least 1 and divide the {images} images")


def _check_stride(op: str, stride: int) -> None:
    if stride < 1:
        raise ValueError(f"{op}: stride is {stride}; it must be at least 1")
