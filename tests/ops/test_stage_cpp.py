"""The C++ kernels of stage and stage_backward against the reference."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ddarts.ops.library import library
from tests.ops.op_cases import DTYPES, integers, normal
from tests.ops.stage_cases import EMPTY, SHAPES, Case, Shape, assert_accurate, assert_exact, flat, make

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("poisoned_memory")


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    """The kernels are called directly, so nothing else loads them."""
    assert library().problem is None, library().problem


def forward(case: Case) -> list[torch.Tensor]:
    """stage by the C++ kernels, flattened."""
    return flat(torch.ops.ddarts_cpp.stage.default(*case.forward_arguments()))


def backward(case: Case, need_weights: bool = True) -> list[torch.Tensor]:
    """stage_backward by the C++ kernels, flattened."""
    return flat(torch.ops.ddarts_cpp.stage_backward.default(*case.backward_arguments(need_weights)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_accurate_as_torch(shape: Shape, dtype: torch.dtype) -> None:
    assert_accurate(make(shape, dtype, normal(dtype, 1)), forward, backward)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_numbers_are_exact(shape: Shape) -> None:
    assert_exact(make(shape, torch.float32, integers(torch.float32, 2)), forward, backward)


@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_empty(shape: Shape) -> None:
    case = make(shape, torch.float32, normal(torch.float32, 3))
    *y, mean, rstd = forward(case)
    assert all(t.shape == (shape.edges, *shape.out_size) for t in y)
    assert mean.eq(0).all() and torch.allclose(rstd, torch.full_like(rstd, 1e-5**-0.5))
    dz, *weights = backward(case)
    assert dz.shape == case.x.shape and all(t.eq(0).all() for t in weights)


@pytest.mark.parametrize("shape", [SHAPES[4], SHAPES[21], SHAPES[-2]], ids=str)
def test_same_bits_for_any_number_of_threads(shape: Shape, set_threads: Callable[[int], None]) -> None:
    case = make(shape, torch.float32, normal(torch.float32, 4))
    results = []
    for threads in (1, 2, 3, 1):
        set_threads(threads)
        results.append([*forward(case), *backward(case)])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("shape", [SHAPES[3], SHAPES[13]], ids=str)
def test_architecture_gradient_skips_the_weights(shape: Shape) -> None:
    case = make(shape, torch.float32, normal(torch.float32, 5))
    dz, depthwise, pointwise, sums = torch.ops.ddarts_cpp.stage_backward.default(*case.backward_arguments(False))
    whole = torch.ops.ddarts_cpp.stage_backward.default(*case.backward_arguments(True))
    assert depthwise == [] and pointwise == []
    assert torch.equal(dz, whole[0]) and torch.equal(sums, whole[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_statistics_of_values_far_from_zero(dtype: torch.dtype) -> None:
    """mean / std about 10⁴, where the difference of E[y²] and E[y]² would have no correct digit left in float32."""
    case = make(Shape((4, 8, 8, 16), ((1, 1),)), dtype, normal(dtype, 6))
    case.x = 3000 + case.x
    case.depthwise = [torch.ones_like(d) for d in case.depthwise]
    case.pointwise = [torch.eye(16, dtype=dtype).expand(2, 16, 16).contiguous()]
    y, mean, rstd = forward(case)
    exact = y.double().flatten(1, 3)
    assert torch.allclose(mean[0, 0].double(), exact.mean(1), rtol=1e-6)
    assert torch.allclose(rstd[0, 0].double(), (exact.var(1, correction=0) + 1e-5).rsqrt(), rtol=1e-5)


def test_nan_and_infinity_reach_the_output() -> None:
    case = make(Shape((1, 9, 9, 8), ((3, 1),)), torch.float32, normal(torch.float32, 7))
    case.x[0, 0, 4, 4, 3] = torch.nan
    y = forward(case)[0]
    assert y[:, :, 3:6, 3:6].isnan().all() and not y[:, :, :3].isnan().any() and not y[:, :, 6:].isnan().any()


def test_strided_arguments() -> None:
    shape = Shape((2, 6, 7, 8), norm=True)
    case = make(shape, torch.float32, normal(torch.float32, 8))
    plain = [*forward(case), *backward(case)]
    case.x = case.x.transpose(2, 3).contiguous().transpose(2, 3)
    case.grads = [torch.stack([g, g], -1)[..., 0] for g in case.grads]
    case.pointwise = [p.transpose(1, 2).contiguous().transpose(1, 2) for p in case.pointwise]
    for a, b in zip(plain, [*forward(case), *backward(case)], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 3, 4, 5)}, "x has 4 dimensions"),
        ({"x": torch.zeros(1, 2, 6, 7, 8, dtype=torch.int64)}, "x is Long"),
        ({"x": torch.zeros(3, 2, 6, 7, 8)}, "x has 3 inputs, expected 1 or 2"),
        ({"depthwise": []}, "depthwise is an empty list"),
        ({"dilation": [1]}, "depthwise has 4 entries, pointwise 4 and dilation 1"),
        ({"dilation": [1, 1, 0, 2]}, r"dilation\[2\] is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"depthwise": [torch.zeros(2, 4, 4, 8)] * 4}, r"depthwise\[0\] has 4 taps in a row"),
        ({"pointwise": [torch.zeros(2, 8, 7)] * 4}, r"pointwise\[0\] is \[2, 8, 7\], expected \[2, 8, 8\]"),
        ({"pointwise": [torch.zeros(2, 8, 8, dtype=torch.float64)] * 4}, r"pointwise\[0\] is Double but x is Float"),
        ({"rstd": None}, "mean and rstd go together"),
        ({"mean": torch.zeros(1, 8)}, r"mean is \[8\], expected \[1, 8\]"),
        ({"grads": []}, "grads has 0 entries, expected 8"),
        ({"y": [torch.zeros(1)] * 4}, r"y\[0\] is \[1\]"),
        ({"coefficients": torch.zeros(3)}, r"coefficients is \[3\]"),
    ],
)
def test_errors_name_the_argument(change: dict, message: str) -> None:
    case = make(Shape((2, 6, 7, 8), norm=True), torch.float32, normal(torch.float32, 9))
    for name, value in change.items():
        setattr(case, name, value)
    with pytest.raises(RuntimeError, match=message):
        backward(case)


@pytest.mark.parametrize("variant", ["default", "avx2"])
def test_other_instruction_sets(variant: str) -> None:
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            __file__,
            "-k",
            "(accurate and not float16) or exact or bits",
        ],
        cwd=ROOT,
        env={**os.environ, "DDARTS_CPU_CAPABILITY": variant},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout[-3000:]
    assert " passed" in child.stdout
