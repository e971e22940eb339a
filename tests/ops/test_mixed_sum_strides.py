"""Strides of the results: reference, compiled kernel and fake kernel agree to the last number, also in dimensions of
size 1 and in empty tensors, where any number would be right and a compiled graph still holds us to the fake one."""

import math

import torch
from ddarts_kernels.layout import accumulation_dtype
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import ddarts.ops
from ddarts.ops import Norm
from tests.ops.op_cases import DTYPES

SIDES = st.sampled_from([0, 1, 1, 1, 2, 3, 5])
SHAPES = st.one_of(st.tuples(SIDES, SIDES, SIDES, SIDES), st.lists(SIDES, max_size=5).map(tuple))


def cut(shape: tuple[int, ...], order: int, extra: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor of `shape` cut from one that is longer by `extra` and whose dimensions lie in the `order`-th order."""
    axes = list(range(len(shape)))
    for i in range(len(axes) - 1, 0, -1):
        order, j = divmod(order, i + 1)
        axes[i], axes[j] = axes[j], axes[i]
    longer = [side + more for side, more in zip(shape, extra, strict=False)]
    stored = torch.zeros([longer[axis] for axis in axes], dtype=dtype)
    whole = stored.permute([axes.index(axis) for axis in range(len(axes))])
    return whole[tuple(slice(side) for side in shape)]


def strides(
    inputs: list[Tensor], weights: Tensor, grad: Tensor, norm: int, statistics: tuple[Tensor, Tensor] | None
) -> list[tuple[int, ...]]:
    """Strides of the sum, of the statistics it computes and of every gradient, in forward and backward pass."""
    terms = ([0, 1], [norm, norm])
    out, *computed = torch.ops.ddarts.mixed_sum.default(inputs, weights, *terms, None, None, None, False, 1e-5)
    mean, rstd = statistics or (None, None)
    grads, of_weights = torch.ops.ddarts.mixed_sum_backward.default(
        grad, inputs, weights, *terms, mean, rstd, None, False, [1, 0], True
    )
    return [t.stride() for t in (out, *computed, *grads, of_weights)]


@settings(max_examples=300, deadline=None, derandomize=True)
@example((3, 1, 5, 5), 0, (0, 2, 0, 0, 0), 1, torch.float32, Norm.NONE)
@example((2, 3, 1, 1), 0, (0, 0, 0, 0, 0), 0, torch.bfloat16, Norm.BATCH)
@given(
    SHAPES,
    st.integers(0, math.factorial(5) - 1),
    st.tuples(*[st.sampled_from([0, 0, 1, 2])] * 5),
    st.integers(0, math.factorial(5) - 1),
    st.sampled_from(DTYPES),
    st.sampled_from([Norm.NONE, Norm.BATCH]),
)
def test_strides_agree(
    shape: tuple[int, ...], order: int, extra: tuple[int, ...], grad_order: int, dtype: torch.dtype, norm: Norm
) -> None:
    inputs = [cut(shape, order, extra, dtype), cut(shape, grad_order, (0,) * 5, dtype)]
    grad = cut(shape, grad_order, extra[::-1], dtype)
    weights = torch.ones(2, dtype=dtype)
    statistics = None
    if norm == Norm.BATCH:
        assume(len(shape) >= 2)
        statistics = (torch.zeros(2, shape[1], dtype=accumulation_dtype(dtype)),) * 2
    with ddarts.ops.use_backend("reference"):
        reference = strides(inputs, weights, grad, norm, statistics)
    with ddarts.ops.use_backend("cpp"):
        compiled = strides(inputs, weights, grad, norm, statistics)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = [mode.from_tensor(x) for x in (*inputs, weights, grad, *(statistics or ()))]
        fake = strides(fakes[:2], fakes[2], fakes[3], norm, tuple(fakes[4:]) or None)
    assert reference == fake
    assert compiled == fake
