"""project and project_backward: the same on every backend, and what torch's modules compute.

Legend: E edges, P parts, N images in G groups, H, W pixels, I channels in, o out of each part.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.project import reference
from torch import Tensor
from torch.library import opcheck

import ddarts.ops
from ddarts.space.blocks import FactorizedReduce, ReLUConvBN
from tests.bits import assert_same_bits
from tests.ops.op_cases import DTYPES, integers, normal
from tests.ops.stage_cases import flat
from tests.tolerances import FORWARD, GRADIENT, assert_as_accurate

OPS, EPS = torch.ops.ddarts, 1e-5
backends = pytest.mark.parametrize("backend", ["reference", "cpp"])


class Shape(NamedTuple):
    size: tuple[int, int, int, int]  # N, H, W, I
    outputs: int  # o
    edges: int = 1
    parts: int = 1
    stride: int = 1
    groups: int = 1


SHAPES = (
    Shape((1, 1, 1, 1), 1), Shape((2, 8, 8, 64), 16), Shape((3, 5, 7, 48), 16), Shape((2, 9, 4, 5), 3, edges=2),
    Shape((2, 8, 8, 64), 16, parts=2, stride=2), Shape((3, 7, 5, 16), 8, edges=4, parts=2, stride=2),
    Shape((2, 7, 9, 6), 3, edges=3, parts=2, stride=2), Shape((6, 5, 6, 20), 12, groups=3),
    Shape((34, 4, 4, 128), 16, parts=2, stride=2, groups=2), Shape((2, 7, 8, 3), 2, parts=3, stride=3),
    Shape((2, 5, 5, 33), 70), Shape((1, 3, 2, 700), 4), Shape((2, 6, 5, 4), 3, stride=2),
)  # fmt: skip
EMPTY = (Shape((0, 5, 4, 8), 4), Shape((2, 0, 4, 8), 4, parts=2, stride=2))
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def made(shape: Shape, dtype: torch.dtype, fill: Callable = normal) -> tuple[tuple, tuple]:
    """Arguments of both operators."""
    draw, wide = fill(dtype, 1), accumulation_dtype(dtype)
    images, height, width, inputs = shape.size
    x = draw(shape.size)
    weights = [draw((shape.edges, shape.outputs, inputs)) for _ in range(shape.parts)]
    out = images, -(-height // shape.stride), -(-width // shape.stride), shape.parts * shape.outputs
    grads, y = [draw(out) for _ in range(shape.edges)], draw((shape.edges, *out))
    coefficients = fill(wide, 2)((shape.edges, 3, out[3]))
    return (x, weights, shape.stride, EPS, shape.groups), (grads, y, coefficients, x, weights, shape.stride)


def run(backend: str, op: str, *arguments: object) -> list[Tensor]:
    with ddarts.ops.use_backend(backend):
        return flat(getattr(OPS, op)(*arguments))


def widened(arguments: object) -> object:
    if isinstance(arguments, Tensor):
        return arguments.double()
    return type(arguments)(map(widened, arguments)) if isinstance(arguments, tuple | list) else arguments


@backends
@shapes
@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
def test_contract(backend: str, dtype: torch.dtype, shape: Shape) -> None:
    forward, backward = made(shape, dtype)
    for op, arguments, plain, limit in (
        ("project", forward, reference.forward, FORWARD),
        ("project_backward", (*backward, True), reference.backward, GRADIENT),
    ):
        exact, eager = flat(plain(*widened(arguments))), flat(plain(*arguments))
        for i, (k, e, r) in enumerate(zip(run(backend, op, *arguments), eager, exact, strict=True)):
            assert k.dtype == e.dtype and k.is_contiguous()
            assert_as_accurate(k, e, r, limit, f"{op} {i}")
    assert_same_bits(
        run(backend, "project_backward", *backward, False), run(backend, "project_backward", *backward, True)[:1]
    )


@shapes
def test_whole_numbers_are_exact(shape: Shape) -> None:
    forward, backward = made(shape, torch.float32, integers)
    assert torch.equal(run("cpp", "project", *forward)[0].double(), reference.forward(*widened(forward))[0])
    exact = flat(reference.backward(*widened((*backward, True))))
    for k, r in zip(run("cpp", "project_backward", *backward, True), exact, strict=True):
        small = r.abs() < 2**22  # larger ones need not be, nor their partial sums
        assert torch.equal(k.double()[small], r[small])


@backends
@pytest.mark.parametrize("reduce", [False, True])
def test_torch_computes_the_same(backend: str, reduce: bool) -> None:
    module = (FactorizedReduce if reduce else ReLUConvBN)(6, 4, affine=False).double()
    x = torch.randn(3, 6, 7, 5, dtype=torch.float64, requires_grad=True)
    convolutions = [module.conv_1, module.conv_2] if reduce else [module.op[1]]
    weights = [c.weight.detach().flatten(2).squeeze(2)[None] for c in convolutions]
    pixels, stride = x.detach().permute(0, 2, 3, 1).contiguous(), 2 if reduce else 1
    y, mean, rstd = run(backend, "project", pixels, weights, stride, EPS, 1)
    out, made = module(x), ((y - mean[0]) * rstd[0])[0].permute(0, 3, 1, 2)
    torch.testing.assert_close(made, out.detach(), rtol=1e-10, atol=1e-10)
    slope = torch.randn_like(out)
    g = slope.permute(0, 2, 3, 1).contiguous()
    # BN's backward as coefficients, of the normalised y
    hat = out.detach().permute(0, 2, 3, 1).contiguous()
    count, scale = hat.numel() // 4, rstd[0, 0]
    sums = g.flatten(0, 2).sum(0), (g * hat).flatten(0, 2).sum(0)
    lines = torch.stack([scale, -scale * sums[1] / count, -scale * sums[0] / count])[None]
    found = run(backend, "project_backward", [g], hat[None], lines, pixels, weights, stride, True)
    wanted = torch.autograd.grad(out, [x, *(c.weight for c in convolutions)], slope)
    torch.testing.assert_close(found[0].permute(0, 3, 1, 2), wanted[0], rtol=1e-9, atol=1e-9)
    for gradient, expected in zip(found[1:], wanted[1:], strict=True):
        torch.testing.assert_close(gradient, expected.flatten(2).squeeze(2)[None], rtol=1e-9, atol=1e-9)


@backends
@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_empty(backend: str, shape: Shape) -> None:
    forward, backward = made(shape, torch.float32)
    y, mean, rstd = run(backend, "project", *forward)
    assert y.numel() == 0 and mean.eq(0).all() and torch.allclose(rstd, torch.full_like(rstd, EPS**-0.5))
    dx, *weights = run(backend, "project_backward", *backward, True)
    assert dx.shape == shape.size and all(w.eq(0).all() for w in weights)


@backends
def test_specials(backend: str) -> None:
    (x, *rest), backward = made(Shape((2, 5, 6, 8), 4), torch.float32)
    x[0, 2, 3, 1] = torch.nan
    y = run(backend, "project", x, *rest)[0]
    assert y[:, 0, 2, 3].isnan().all() and y.isnan().sum() == 4
    dx = run(backend, "project_backward", *backward, False)[0]
    assert not dx.isnan().any() and dx[0, 2, 3, 1] != 0  # as aten::threshold_backward


@pytest.mark.parametrize("shape", [SHAPES[5], SHAPES[8]], ids=str)
def test_any_number_of_threads_gives_the_same_bits(shape: Shape, set_threads: Callable[[int], None]) -> None:
    forward, backward = made(shape, torch.float32)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        found.append([*run("cpp", "project", *forward), *run("cpp", "project_backward", *backward, True)])
    for others in found[1:]:
        assert_same_bits(others, found[0])


@backends
def test_any_strides_give_the_same_bits(backend: str) -> None:
    (x, weights, *rest), _ = made(SHAPES[6], torch.float32)
    expected = run(backend, "project", x, weights, *rest)
    spread = [torch.stack([w, w], dim=-1)[..., 0] for w in weights]
    assert_same_bits(run(backend, "project", torch.stack([x, x], dim=4)[..., 1], spread, *rest), expected)


@backends
def test_opcheck(backend: str) -> None:
    forward, backward = made(Shape((4, 5, 4, 3), 2, edges=2, parts=2, stride=2, groups=2), torch.float64)
    with ddarts.ops.use_backend(backend):
        opcheck(OPS.project.default, forward)
        for need_weights in (True, False):
            opcheck(OPS.project_backward.default, (*backward, need_weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({3: torch.zeros(2, 3, 4)}, r"x is \[2, 3, 4\]; it must be \[N, H, W, I\]"),
        ({4: []}, r"weights holds \[\]"),
        ({4: [torch.zeros(2, 3, 4), torch.zeros(2, 2, 4)]}, r"weights\[1\] is .* \[2, 2, 4\]; it must be"),
        ({4: [torch.zeros(2, 3, 5)] * 2}, r"weights\[0\] is .* \[2, 3, 5\]; it must be .* \[2, 3, 4\]"),
        ({5: 0}, "stride is 0"),
        ({0: []}, "grads holds 0 tensors; it must hold one for each of 2 edges"),
        ({1: torch.zeros(3)}, r"y is .* \[3\]"),
        ({2: torch.zeros(3)}, r"coefficients is .* \[3\]; it must be torch.float32 \[2, 3, 6\]"),
    ],
)
def test_errors_name_the_argument(change: dict, message: str) -> None:
    _, fitting = made(Shape((2, 5, 5, 4), 3, edges=2, parts=2, stride=2), torch.float32)
    arguments = [change.get(i, value) for i, value in enumerate(fitting)]
    with pytest.raises(ValueError, match=f"^project_backward: {message}"):
        OPS.project_backward(*arguments, True)
    if {3, 4, 5} & change.keys():
        with pytest.raises(ValueError, match=f"^project: {message}"):
            OPS.project(*arguments[3:], EPS, 1)
    with pytest.raises(ValueError, match="^project: groups is 3; it must be at least 1 and divide the 2 images"):
        OPS.project(*fitting[3:], EPS, 3)
