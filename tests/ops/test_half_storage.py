"""Numbers stored in half precision beside float32: every operator computes what it does of the same numbers in float32.

So all comparisons are of bits. Legend in kernels/ddarts_kernels/stage/reference.py.
"""

from dataclasses import replace

import pytest
import torch
from ddarts_kernels.mixed_sum import reference
from ddarts_kernels.stage import reference as stage_reference
from torch import Tensor
from torch.library import opcheck

from ddarts.ops import Norm
from tests.bits import assert_same_bits
from tests.ops.backends import WITHOUT_CUDA, call_on, moved, run_on
from tests.ops.op_cases import LAYOUTS, integers, normal
from tests.ops.stage_cases import EMPTY, SHAPES, Case, Shape, flat, make
from tests.tolerances import FORWARD, GRADIENT, assert_as_accurate

OPS = torch.ops.ddarts
FLOAT, HALF = torch.float32, torch.float16
pytestmark = pytest.mark.usefixtures("poisoned_memory")
backends = pytest.mark.parametrize("backend", WITHOUT_CUDA)
# The interpreter is slow: for it shapes with more than one tile, block of channels, group and input.
FEW = (
    Shape((2, 5, 7, 17), ((3, 2), (5, 1)), stride=2, norm=True),
    Shape((4, 5, 4, 16), ((3, 1),), edges=2, shared=False, norm=True, groups=2),
)
MATRIX = [(name, shape) for name in WITHOUT_CUDA for shape in (FEW if name == "triton" else SHAPES)]
MATRIX += [("cpp", shape) for shape in EMPTY]


def stage(backend: str, case: Case, dtype: torch.dtype | None = None) -> list[Tensor]:
    return flat(call_on(backend, OPS.stage, *case.forward_arguments(), dtype))


def stage_backward(backend: str, case: Case) -> list[Tensor]:
    return flat(call_on(backend, OPS.stage_backward, *case.backward_arguments()))


def halved(x: list[Tensor]) -> list[Tensor]:
    return [v.half() for v in x]


def widened(x: list[Tensor]) -> list[Tensor]:
    return [v.half().float() for v in x]


@pytest.mark.parametrize(("backend", "shape"), MATRIX, ids=str)
def test_a_stage_s_output_is_rounded_and_its_statistics_are_not(backend: str, shape: Shape) -> None:
    case = make(shape, FLOAT, normal(FLOAT, 1))
    plain, found = stage(backend, case), stage(backend, case, HALF)
    *y, mean, rstd = plain
    assert_same_bits(found, [*halved(y), mean, rstd])
    assert all(v.is_contiguous() for v in found)


@pytest.mark.parametrize(("backend", "shape"), MATRIX, ids=str)
def test_a_stage_reads_what_another_has_stored(backend: str, shape: Shape) -> None:
    case = make(shape, FLOAT, normal(FLOAT, 2))
    stored = replace(case, x=case.x.half(), y=halved(case.y))
    case = replace(case, x=case.x.half().float(), y=widened(case.y))
    *y, mean, rstd = stage(backend, case)
    assert_same_bits(stage(backend, stored), [*halved(y), mean, rstd])
    assert_same_bits(stage_backward(backend, stored), stage_backward(backend, case))  # dz in float32 too


@backends
def test_only_the_output_of_the_first_stages_is_stored_in_half_precision(backend: str) -> None:
    case = make(FEW[0], FLOAT, normal(FLOAT, 3))
    stored = replace(case, y=halved(case.y))
    assert_same_bits(stage_backward(backend, stored), stage_backward(backend, replace(case, y=widened(case.y))))


@backends
def test_whole_numbers_are_exact(backend: str) -> None:
    case = make(replace(FEW[1], size=(4, 5, 4, 8)), FLOAT, integers(FLOAT, 4))
    case.rstd = None if case.rstd is None else case.rstd.ceil()
    stored = replace(case, x=case.x.half(), y=halved(case.y))
    exact = flat(stage_reference.backward(*case.to(torch.float64).backward_arguments()))
    for found, value in zip(stage_backward(backend, stored), exact, strict=True):
        assert torch.equal(found.double(), value)


@backends
def test_as_accurate_as_torch(backend: str) -> None:
    """By the rule for float32: nothing but storage is in half precision."""
    case = make(FEW[1], FLOAT, normal(FLOAT, 5))
    stored = replace(case, x=case.x.half(), y=halved(case.y))
    wide = replace(case, x=stored.x.float(), y=widened(case.y)).to(torch.float64)
    eager, exact = (flat(stage_reference.backward(*c.backward_arguments())) for c in (stored, wide))
    for i, values in enumerate(zip(stage_backward(backend, stored), eager, exact, strict=True)):
        assert_as_accurate(*values, GRADIENT, f"gradient {i}")


@backends
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # numpy, in the interpreter
def test_numbers_beyond_half_precision_become_infinite(backend: str) -> None:
    """Not the largest number that there is: a wrong result must show."""
    case = make(Shape((1, 3, 3, 4), ((1, 1),), edges=1), FLOAT, normal(FLOAT, 6))
    case.depthwise, case.pointwise = [torch.full_like(case.depthwise[0], 7e4)], [torch.eye(4)[None]]
    case.x = torch.ones_like(case.x)
    y, mean, _ = stage(backend, case, HALF)
    assert y.isinf().all() and torch.equal(mean, torch.full_like(mean, 7e4))


def mixed(layout: str, images: int = 3) -> tuple[list[Tensor], list[Tensor]]:
    """Some inputs in half precision, and the same numbers in float32."""
    inputs = [LAYOUTS[layout]((images, 5, 4, 6), normal(FLOAT, seed)) for seed in range(4)]
    stored = [x.half() if u in (1, 2) else x for u, x in enumerate(inputs)]
    return stored, [x.float() for x in stored]


@backends
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("first", [0, 1], ids=["float32 first", "half first"])
def test_sums_read_either(backend: str, layout: str, first: int) -> None:
    stored, plain = (x[first:] for x in mixed(layout))
    count = len(stored)
    mean, rstd = normal(FLOAT, 8)((count, 5)), normal(FLOAT, 9)((count, 5)).abs() + 1
    grad, norm = (
        LAYOUTS[layout]((3, 5, 4, 6), normal(FLOAT, 7)),
        [Norm.BATCH, Norm.FIXED, Norm.NONE, Norm.BATCH][:count],
    )
    found, expected = (call_on(backend, OPS.channel_sums, grad, x, norm, mean, rstd) for x in (stored, plain))
    assert_same_bits(found, expected)
    exact = reference.sums(grad.double(), [x.double() for x in plain], norm, mean.double(), rstd.double())
    for value, eager, right in zip(found, reference.sums(grad, stored, norm, mean, rstd), exact, strict=True):
        assert_as_accurate(value, eager, right, GRADIENT, layout)


@backends
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("first", [0, 1], ids=["float32 first", "half first"])
def test_nodes_read_either(backend: str, layout: str, first: int) -> None:
    """Three networks in two runs of inputs, which need not store the same ones in half precision."""
    stored, plain = (x[first:] for x in mixed(layout, 2))
    count = len(stored)
    stored += [x[:1] for x in plain]
    plain += [x[:1] for x in plain]
    weights, lines = normal(FLOAT, 7)((3, count)), (3, count, 5)
    for statistics in ((None, None), (normal(FLOAT, 8)(lines), normal(FLOAT, 9)(lines).abs() + 1)):
        found, expected = (call_on(backend, OPS.node_sum, x, weights, *statistics) for x in (stored, plain))
        assert found.dtype == FLOAT and found.stride() == expected.stride()
        assert_same_bits([found], [expected])
        wide = [None if v is None else v.double() for v in statistics]
        exact = reference.node_sum([x.double() for x in plain], weights.double(), *wide)
        assert_as_accurate(found, reference.node_sum(stored, weights, *statistics), exact, FORWARD, layout)


@backends
def test_opcheck(backend: str) -> None:
    case = make(Shape((2, 5, 4, 3), ((3, 1), (5, 2)), stride=2, norm=True), FLOAT, normal(FLOAT, 1))
    stored = replace(case, x=case.x.half(), y=halved(case.y))
    inputs, _ = mixed("channels_last", 2)
    with run_on(backend) as device:
        opcheck(OPS.stage.default, moved((*case.forward_arguments(), HALF), device))
        opcheck(OPS.stage.default, moved(stored.forward_arguments(), device))
        opcheck(OPS.stage_backward.default, moved(stored.backward_arguments(), device))
        opcheck(OPS.node_sum.default, moved((inputs, torch.ones(2, 4), None, None), device))
        opcheck(OPS.channel_sums.default, moved((inputs[0], inputs, [0] * 4, None, None), device))


REFUSED = {
    "stage: dtype is torch.bfloat16; for x of torch.float32 it must be torch.float32 or torch.float16": lambda c: (
        OPS.stage(*c.forward_arguments(), torch.bfloat16)
    ),
    "stage: dtype is torch.float16; for x of torch.float64 it must be torch.float64": lambda c: (
        OPS.stage(*c.to(torch.float64).forward_arguments(), HALF)
    ),
    r"stage_backward: grads\[0\] is torch.float16; beside x of torch.float32 it must be torch.float32": lambda c: (
        OPS.stage_backward(*replace(c, grads=halved(c.grads)).backward_arguments())
    ),
    r"stage_backward: grads\[0\] is torch.float64; beside x of torch.float16": lambda c: (
        OPS.stage_backward(*replace(c, x=c.x.half(), grads=[g.double() for g in c.grads]).backward_arguments())
    ),
    r"stage_backward: y\[1\] is torch.float32 .*; it must be torch.float16": lambda c: (
        OPS.stage_backward(*replace(c, y=[c.y[0].half(), c.y[1]]).backward_arguments())
    ),
    r"node_sum: inputs\[1\] is torch.bfloat16 .*; it must be torch.float32 or torch.float16": lambda c: (
        OPS.node_sum([c.x[0], c.x[0].bfloat16()], torch.ones(1, 2), None, None)
    ),
    r"channel_sums: inputs\[0\] is torch.float32 .*; it must be torch.float16": lambda c: (
        OPS.channel_sums(c.x[0].half(), [c.x[0]], [0], None, None)
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_other_types_are_refused(message: str) -> None:
    case = make(Shape((2, 6, 7, 8), ((3, 1), (5, 2))), FLOAT, normal(FLOAT, 9))
    with pytest.raises(ValueError, match=f"^{message}"):
        REFUSED[message](case)
