"""FLOPs of the stage and pooling operators, against torch's own counts and sums done by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ddarts_kernels.stage import reference
from torch.utils.flop_counter import FlopCounterMode

import ddarts.ops
from tests.ops.stage_cases import Case, Shape, make

SHAPES = (
    Shape((2, 7, 6, 4)),
    Shape((2, 7, 6, 4), ((3, 1), (5, 2)), edges=3, stride=2, norm=True),
    Shape((1, 5, 8, 3), ((3, 1),), edges=2, shared=False, norm=True),
)


def flops(function: Callable[..., Any], *arguments: Any) -> int:
    """What FlopCounterMode counts of a call."""
    with ddarts.ops.use_backend("reference"), FlopCounterMode(display=False) as counter:
        function(*arguments)
    return counter.get_total_flops()


def drawn(shape: Shape) -> Case:
    """Any numbers will do."""
    return make(shape, torch.float32, torch.rand)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_stage_is_its_convolutions_statistics_and_norm(shape: Shape) -> None:
    """torch counts the convolutions and products of the reference; 4 a number of y are statistics, 2 one of x BN."""
    made = drawn(shape)
    y = sum(v.numel() for v in made.y)
    products = flops(reference.forward, *made.forward_arguments())
    norm = 2 * made.x.numel() if shape.norm else 0
    assert flops(torch.ops.ddarts.stage, *made.forward_arguments()) == products + 4 * y + norm


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_stage_backwards(shape: Shape) -> None:
    """Without gradients of the weights the products are those of the forward pass; with them they come twice more, less
    the pointwise one that the gradient of its own weights does not need."""
    made = drawn(shape)
    y = sum(v.numel() for v in made.y)
    products = flops(reference.forward, *made.forward_arguments())
    pointwise = 2 * shape.size[-1] * y
    rest = 4 * y + (5 * made.x.numel() if shape.norm else 0)
    count = [flops(torch.ops.ddarts.stage_backward, *made.backward_arguments(need)) for need in (False, True)]
    assert count == [products + rest, 3 * products - pointwise + rest]


@pytest.mark.parametrize("stride", [1, 2])
def test_pools(stride: int) -> None:
    x = torch.rand(2, 7, 6, 3)
    n = 2 * 3 * (7 * 6 if stride == 1 else 4 * 3)
    assert flops(torch.ops.ddarts.pools, x, stride, 1e-5, 1) == n * (9 + 2 * 4)
    most, average, index, *_ = torch.ops.ddarts.pools(x, stride, 1e-5, 1)
    coefficients = torch.rand(2, 3 + 2, 3)
    arguments = ([most] * 3, most, average, index, coefficients, 7, 6, stride)
    assert flops(torch.ops.ddarts.pools_backward, *arguments) == n * (2 * (3 + 1) * 2 + 1 + 1 + 9)


def test_node_sum() -> None:
    x, weights = torch.rand(2, 3, 4), torch.rand(4, 2)
    assert flops(torch.ops.ddarts.node_sum, [x, x, x[:2], x[:2]] * 2, weights, None, None) == 2 * 2 * 8 * 12


def test_project() -> None:
    x, weights = torch.rand(2, 5, 4, 6), [torch.rand(3, 2, 6)] * 2
    y, values = torch.rand(3, 2, 3, 2, 4), 3 * 2 * 3 * 2 * 4
    assert flops(torch.ops.ddarts.project, x, weights, 2, 1e-5, 1) == values * (2 * 6 + 4)
    arguments = list(y), y, torch.rand(3, 3, 4), x, weights, 2
    count = [flops(torch.ops.ddarts.project_backward, *arguments, need) for need in (False, True)]
    assert count == [values * (4 + 12), values * (4 + 24)]


def test_channel_sums() -> None:
    x = torch.rand(2, 3, 4)
    statistics = torch.rand(2, 3), torch.rand(2, 3)
    assert flops(torch.ops.ddarts.channel_sums, x, [x, x], [1, 0], *statistics) == 24 * (1 + 2 * 2)
