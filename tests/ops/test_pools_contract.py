"""pools and pools_backward: the same on every backend, for awkward shapes, layouts and values.

Shapes: N images, H, W pixels (h, w after the stride), C channels, stored [N, H, W, C]; E edges.
"""

from collections.abc import Callable

import pytest
import torch
from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.pools import reference
from torch import Tensor
from torch.library import opcheck

import ddarts.ops  # noqa: F401
from tests.bits import assert_same_bits
from tests.ops.backends import WITHOUT_CUDA, call_on, moved, run_on
from tests.ops.op_cases import DTYPES, integers, normal
from tests.tolerances import FORWARD, GRADIENT, assert_as_accurate

pytestmark = pytest.mark.usefixtures("poisoned_memory")
EPS, EDGES = 1e-5, 3
# N, H, W, C
SHAPES = [
    (0, 5, 7, 3),
    (2, 0, 4, 2),
    (1, 1, 1, 1),
    (1, 2, 2, 2),
    (2, 1, 9, 16),
    (2, 3, 1, 6),
    (3, 9, 5, 17),
    (2, 36, 21, 8),
]
STRIDES = (1, 2)
backends = pytest.mark.parametrize("backend", WITHOUT_CUDA)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
strides = pytest.mark.parametrize("stride", STRIDES)


def forward(backend: str, x: Tensor, stride: int, groups: int = 1) -> tuple[Tensor, ...]:
    return call_on(backend, torch.ops.ddarts.pools, x, stride, EPS, groups)


def backward(backend: str, *arguments: object) -> Tensor:
    return call_on(backend, torch.ops.ddarts.pools_backward, *arguments)


def slopes(x: Tensor, stride: int, fill=normal) -> tuple[object, ...]:
    """Arguments of pools_backward for a state."""
    most, average, index, _, _ = reference.forward(x, stride, EPS, 1)
    grads = [fill(x.dtype, seed)(most.shape) for seed in range(EDGES)]
    lines = fill(accumulation_dtype(x.dtype), 7)((2, EDGES + 2, x.shape[3]))
    return grads, most, average, index, lines, x.shape[1], x.shape[2], stride


def widened(arguments: tuple[object, ...]) -> list[object]:
    def wide(x: object) -> object:
        if isinstance(x, list):
            return [wide(v) for v in x]
        return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x

    return [wide(x) for x in arguments]


@backends
@strides
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@shapes
def test_contract(backend: str, stride: int, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = normal(dtype, 3)(shape)
    names = ("maximum", "average", "index", "mean", "rstd")
    results = zip(
        names,
        forward(backend, x, stride),
        reference.forward(x, stride, EPS, 1),
        reference.forward(x.double(), stride, EPS, 1),
        strict=True,
    )
    for name, got, eager, wide in results:
        assert got.dtype == eager.dtype and got.is_contiguous()
        if name == "index":
            assert torch.equal(got, wide)
        else:
            assert_as_accurate(got, eager, wide, FORWARD, name)
    arguments = slopes(x, stride)
    got, eager = backward(backend, *arguments), reference.backward(*arguments)
    assert got.dtype == dtype
    assert_as_accurate(got, eager, reference.backward(*widened(arguments)), GRADIENT, "gradient")


@backends
@strides
@shapes
def test_whole_numbers_are_exact(backend: str, stride: int, shape: tuple[int, ...]) -> None:
    x = 36 * integers(torch.float32, 3)(shape)  # any window's average is a whole number; many values are equal
    for got, expected in zip(forward(backend, x, stride)[:3], reference.forward(x, stride, EPS, 1)[:3], strict=True):
        assert torch.equal(got, expected)
    grads, most, average, index, lines, *sizes = slopes(x, stride, integers)
    lines[:, -1] *= 36
    arguments = ([36 * g for g in grads], most, x.new_zeros(average.shape) + 36, index, lines, *sizes)
    assert torch.equal(backward(backend, *arguments), reference.backward(*arguments))


@backends
@strides
def test_specials(backend: str, stride: int) -> None:
    x = normal(torch.float32, 3)((2, 9, 8, 17))
    special = torch.tensor([float("nan"), float("inf"), float("-inf")])
    place = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    x[place] = special[torch.arange(int(place.sum())) % 3]
    got, expected = forward(backend, x, stride), reference.forward(x, stride, EPS, 1)
    for one, other in zip(got[:3], expected[:3], strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    lowest = torch.full((1, 3, 3, 2), float("-inf"))
    assert torch.equal(forward(backend, lowest, stride)[2], reference.forward(lowest, stride, EPS, 1)[2])


@backends
def test_statistics_of_values_far_from_zero(backend: str) -> None:
    x = normal(torch.float32, 3)((4, 16, 16, 16)) + 1e4
    _, _, _, mean, rstd = forward(backend, x, 1)
    most, average, _, _, _ = reference.forward(x, 1, EPS, 1)
    for p, pool in enumerate((most, average)):  # of the pools as rounded: only the statistics are in question
        wide = pool.double().flatten(0, 2)
        torch.testing.assert_close(mean[0, p].double(), wide.mean(0), rtol=2e-7, atol=0)
        torch.testing.assert_close(rstd[0, p].double(), (wide.var(0, correction=0) + EPS).rsqrt(), rtol=1e-4, atol=0)


@backends
@strides
def test_groups_have_their_own_statistics(backend: str, stride: int) -> None:
    x = normal(torch.float32, 3)((6, 7, 5, 6)) * torch.arange(1.0, 7.0)[:, None, None, None]
    whole = forward(backend, x, stride, 3)
    for g, part in enumerate(x.split(2)):
        alone = forward(backend, part, stride)
        assert_same_bits([v[2 * g : 2 * g + 2] for v in whole[:3]], list(alone[:3]))
        for one, other in zip(whole[3:], alone[3:], strict=True):
            torch.testing.assert_close(one[g : g + 1], other, rtol=1e-5, atol=1e-6)


@backends
@strides
def test_any_strides_give_the_same_bits(backend: str, stride: int) -> None:
    x = normal(torch.float32, 3)((2, 7, 5, 6))
    expected = forward(backend, x, stride)
    for view in (x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), torch.stack([x, x], dim=4)[..., 1]):
        assert_same_bits(forward(backend, view, stride), expected)
    grads, *rest = slopes(x, stride)
    wanted = backward(backend, grads, *rest)
    spread = [torch.stack([g, g], dim=4)[..., 0] for g in grads]
    apart = [torch.stack([v, v], dim=-1)[..., 0] if isinstance(v, Tensor) else v for v in rest]
    assert_same_bits(backward(backend, spread, *apart), wanted)


@strides
def test_any_number_of_threads_gives_the_same_bits(stride: int, set_threads: Callable[[int], None]) -> None:
    x = normal(torch.float32, 3)((3, 37, 20, 12))
    arguments = slopes(x, stride)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        found.append([*forward("cpp", x, stride), backward("cpp", *arguments)])
    for others in found[1:]:
        assert_same_bits(others, found[0])


@backends
def test_opcheck(backend: str) -> None:
    torch.use_deterministic_algorithms(False)
    x = normal(torch.float64, 3)((2, 5, 4, 3))
    with run_on(backend) as device:
        for stride in STRIDES:
            opcheck(torch.ops.ddarts.pools.default, (x.to(device), stride, EPS, 1))
            opcheck(torch.ops.ddarts.pools_backward.default, moved(slopes(x, stride), device))


def test_errors_name_the_argument() -> None:
    x = normal(torch.float32, 3)((2, 5, 4, 3))
    grads, most, average, index, lines, *sizes = slopes(x, 2)
    for arguments, line in (
        ((x[0], 1, EPS, 1), "pools: x is"),
        ((x.int(), 1, EPS, 1), "pools: x is torch.int32"),
        ((x, 0, EPS, 1), "pools: stride is 0"),
        ((x, 1, EPS, 3), "pools: groups is 3; it must be at least 1 and divide the 2 images"),
    ):
        with pytest.raises(ValueError, match=line):
            torch.ops.ddarts.pools(*arguments)
    for arguments, line in (
        ((grads, most, average[:1], index, lines, *sizes), "average"),
        ((grads, most, average, index.int(), lines, *sizes), "index"),
        ((grads[:1], most, average, index, lines, *sizes), "coefficients"),
        (([*grads[:2], grads[2].double()], most, average, index, lines, *sizes), r"grads\[2\]"),
        ((grads, most, average, index, lines, 9, *sizes[1:]), "most"),
    ):
        with pytest.raises(ValueError, match=f"pools_backward: {line}"):
            torch.ops.ddarts.pools_backward(*arguments)
