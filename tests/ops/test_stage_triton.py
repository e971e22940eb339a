"""The Triton kernels of stage and stage_backward against the reference, without a GPU in Triton's interpreter, where
every program costs time: few shapes, of which each has an edge that the others lack."""

import pytest
import torch

pytest.importorskip("triton")
from ddarts_kernels.stage import triton_impl, triton_problem  # noqa: E402
from ddarts_kernels.triton_launch import listed  # noqa: E402

from tests.bits import assert_same_bits  # noqa: E402
from tests.ops.backends import GPU, moved  # noqa: E402
from tests.ops.op_cases import integers, normal  # noqa: E402
from tests.ops.stage_cases import EMPTY, Case, Shape, assert_accurate, assert_exact, flat, make  # noqa: E402

pytestmark = pytest.mark.usefixtures("poisoned_memory")
DEVICE = "cuda" if GPU else "cpu"
SHAPES = (
    Shape((1, 1, 1, 1), ((3, 1),), edges=1),
    Shape((2, 5, 7, 17), ((3, 2), (5, 1)), stride=2, norm=True),  # more than one tile, two blocks of channels
    Shape((4, 5, 4, 16), ((3, 1),), edges=2, shared=False, norm=True, groups=2),
    Shape((1, 6, 9, 4), ((5, 2), (1, 1)), edges=3),
)


@pytest.fixture(params=[False, True], ids=["large", "small"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles as large as the pixels, or so small that there are many, with blocks of 16 channels and 64-bit offsets."""
    if request.param:
        monkeypatch.setattr(triton_problem, "_WIDEST", {"BC": 16, "BO": 16})
        monkeypatch.setattr(triton_problem, "_PIXELS", 16)
        monkeypatch.setattr(triton_problem, "_PROGRAMS", 4)
        monkeypatch.setattr(triton_problem, "WIDE_FROM", 0)


def forward(case: Case) -> list[torch.Tensor]:
    """stage by the Triton kernels, flattened."""
    return flat(moved(triton_impl.forward(*moved(case.forward_arguments(), DEVICE)), "cpu"))


def backward(case: Case, need_weights: bool = True) -> list[torch.Tensor]:
    """stage_backward by the Triton kernels, flattened."""
    return flat(moved(triton_impl.backward(*moved(case.backward_arguments(need_weights), DEVICE)), "cpu"))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_accurate_as_torch(shape: Shape) -> None:
    assert_accurate(make(shape, torch.float32, normal(torch.float32, 1)), forward, backward)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_other_types(dtype: torch.dtype) -> None:
    assert_accurate(make(SHAPES[2], dtype, normal(dtype, 1)), forward, backward)


@pytest.mark.parametrize("shape", SHAPES[1:3], ids=str)
def test_whole_numbers_are_exact(shape: Shape) -> None:
    assert_exact(make(shape, torch.float32, integers(torch.float32, 2)), forward, backward)


@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_empty(shape: Shape) -> None:
    case = make(shape, torch.float32, normal(torch.float32, 3))
    assert all(t.shape == (shape.edges, *shape.out_size) for t in forward(case)[: len(shape.kinds)])
    dz, *weights = backward(case)
    assert dz.shape == case.x.shape and all(t.eq(0).all() for t in weights)


def test_architecture_gradient_skips_the_weights() -> None:
    case = make(SHAPES[2], torch.float32, normal(torch.float32, 5))
    whole, (dz, sums) = backward(case), backward(case, need_weights=False)
    assert_same_bits([dz, sums], [whole[0], whole[-1]])


def test_statistics_of_values_far_from_zero() -> None:
    """mean / std about 10^4, where the difference of E[y^2] and E[y]^2 would have no correct digit left in float32."""
    case = make(Shape((4, 8, 8, 16), ((1, 1),), edges=1), torch.float32, normal(torch.float32, 6))
    case.x = 3000 + case.x
    case.depthwise = [torch.ones_like(d) for d in case.depthwise]
    case.pointwise = [torch.eye(16)[None]]
    y, mean, rstd = forward(case)
    exact = y.double().flatten(1, 3)
    assert torch.allclose(mean[0, 0].double(), exact.mean(1), rtol=1e-6)
    assert torch.allclose(rstd[0, 0].double(), (exact.var(1, correction=0) + 1e-5).rsqrt(), rtol=1e-5)


def test_nan_and_infinity_reach_the_output() -> None:
    case = make(Shape((1, 9, 9, 8), ((3, 1),), edges=1), torch.float32, normal(torch.float32, 7))
    case.x[0, 0, 4, 4, 3] = torch.nan
    y = forward(case)[0]
    assert y[:, :, 3:6, 3:6].isnan().all() and not y[:, :, :3].isnan().any() and not y[:, :, 6:].isnan().any()


def test_strided_arguments() -> None:
    case = make(Shape((2, 4, 3, 8), ((3, 1),), norm=True), torch.float32, normal(torch.float32, 8))
    plain = [*forward(case), *backward(case)]
    case.x = case.x.transpose(2, 3).contiguous().transpose(2, 3)
    case.grads = [torch.stack([g, g], -1)[..., 0] for g in case.grads]
    case.pointwise = [p.transpose(1, 2).contiguous().transpose(1, 2) for p in case.pointwise]
    assert_same_bits([*forward(case), *backward(case)], plain)


def test_few_launches_and_tf32_only_where_it_is_allowed() -> None:
    case = make(Shape((2, 8, 8, 16)), torch.float32, normal(torch.float32, 9))
    for allowed, expected in (("ieee", "ieee"), ("tf32", "tf32"), ("none", "ieee")):  # "none" is what it was
        torch.backends.cuda.matmul.fp32_precision = allowed
        with listed() as launches:
            triton_impl.forward(*moved(case.forward_arguments(), DEVICE))
            triton_impl.backward(*moved(case.backward_arguments(), DEVICE))
        assert len(launches) == 5 + 12
        assert {found.arguments["PRECISION"] for found in launches if "PRECISION" in found.arguments} == {expected}
