"""stage, stage_backward and channel_sums as public operators: opcheck and errors; the whole contract of channel_sums.

The numbers of stage are compared in test_stage_cpp.py. Legend: U inputs, N images, C channels, H, W pixels.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.mixed_sum import reference
from torch import Tensor
from torch.library import opcheck

from ddarts.ops import Norm
from tests.bits import assert_same_bits
from tests.ops.backends import WITHOUT_CUDA, call_on, moved, run_on
from tests.ops.op_cases import DTYPES, LAYOUTS, SHAPES, integers, normal
from tests.ops.stage_cases import Shape, make
from tests.tolerances import GRADIENT, assert_as_accurate

OPS = torch.ops.ddarts
NORMS = ((Norm.NONE,) * 3, (Norm.BATCH, Norm.NONE, Norm.FIXED))
backends = pytest.mark.parametrize("backend", WITHOUT_CUDA)
Sums = tuple[Tensor, list[Tensor], Sequence[int], Tensor | None, Tensor | None]


def slopes(shape: Sequence[int], layout: str, norm: Sequence[int], dtype: torch.dtype, fill: Callable = normal) -> Sums:
    """Arguments of channel_sums; without normalised inputs there are no statistics."""
    lay, wide = LAYOUTS[layout], accumulation_dtype(dtype)
    grad, *inputs = (lay(shape, fill(dtype, seed)) for seed in range(len(norm) + 1))
    if not any(norm):
        return grad, inputs, norm, None, None
    lines = len(norm), shape[1]
    return grad, inputs, norm, fill(wide, 8)(lines), fill(wide, 9)(lines).abs() + 1


def widened(arguments: Sums) -> Sums:
    """The same numbers in float64."""
    grad, inputs, norm, mean, rstd = arguments
    if mean is None or rstd is None:
        return grad.double(), [x.double() for x in inputs], norm, None, None
    return grad.double(), [x.double() for x in inputs], norm, mean.double(), rstd.double()


def shapes(backend: str) -> Sequence[tuple[int, ...]]:
    """The interpreter is slow: for it the shapes that differ most."""
    return SHAPES[::3] if backend == "triton" else SHAPES


def channel_sums(backend: str, arguments: Sums) -> tuple[Tensor, Tensor]:
    return call_on(backend, OPS.channel_sums, *arguments)


@backends
@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("norm", NORMS, ids=["plain", "normalised"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_contract(backend: str, layout: str, dtype: torch.dtype, norm: Sequence[int]) -> None:
    for shape in shapes(backend):
        arguments = slopes(shape, layout, norm, dtype)
        exact, eager = reference.sums(*widened(arguments)), reference.sums(*arguments)
        for got, plain, value in zip(channel_sums(backend, arguments), eager, exact, strict=True):
            assert got.dtype == accumulation_dtype(dtype) and got.is_contiguous()
            assert_as_accurate(got, plain, value, GRADIENT, str(shape))


@backends
@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_numbers_are_exact(backend: str, layout: str) -> None:
    for shape in shapes(backend):
        arguments = slopes(shape, layout, NORMS[1], torch.float32, integers)
        for got, value in zip(channel_sums(backend, arguments), reference.sums(*widened(arguments)), strict=True):
            assert torch.equal(got.double(), value)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_any_number_of_threads_gives_the_same_bits(
    layout: str, dtype: torch.dtype, set_threads: Callable[[int], None]
) -> None:
    arguments = slopes((3, 17, 41, 37), layout, NORMS[1], dtype)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        found.append(channel_sums("cpp", arguments))
    for others in found[1:]:
        assert_same_bits(others, found[0])


@backends
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "normalised"])
def test_opcheck_stage(backend: str, norm: bool) -> None:
    case = make(Shape((2, 5, 4, 3), ((3, 1), (5, 2)), stride=2, norm=norm), torch.float64, normal(torch.float64, 1))
    with run_on(backend) as device:
        opcheck(OPS.stage.default, moved(case.forward_arguments(), device))
        for need_weights in (True, False):
            opcheck(OPS.stage_backward.default, moved(case.backward_arguments(need_weights), device))


@backends
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("norm", NORMS, ids=["plain", "normalised"])
def test_opcheck_channel_sums(backend: str, norm: Sequence[int], dtype: torch.dtype) -> None:
    with run_on(backend) as device:
        for layout in ("contiguous", "channels_last"):
            opcheck(OPS.channel_sums.default, moved(slopes((2, 3, 5, 4), layout, norm, dtype), device))


def assert_refused(op: Callable, arguments: Sequence, message: str) -> None:
    """A ValueError of one line that starts with the operator and the argument."""
    with pytest.raises(ValueError, match=f"^{message}") as error:
        op(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 6, 7, 8)}, r"x is \[2, 6, 7, 8\]; it must be \[X, N, H, W, C\]"),
        ({"x": torch.zeros(1, 2, 6, 7, 8).int()}, "x is torch.int32; allowed are torch.float32"),
        ({"x": torch.zeros(3, 2, 6, 7, 8)}, "x holds 3 inputs; it must hold 1, or one for each of 2 edges"),
        ({"stride": 0}, "stride is 0; it must be at least 1"),
        ({"depthwise": []}, "depthwise, pointwise and dilation hold 0, 2 and 2 kinds"),
        ({"pointwise": [torch.zeros(2, 8, 8)]}, "depthwise, pointwise and dilation hold 2, 1 and 2 kinds"),
        ({"dilation": [1]}, "depthwise, pointwise and dilation hold 2, 2 and 1 kinds"),
        ({"dilation": [1, 0]}, r"dilation\[1\] is 0; it must be at least 1"),
        ({"depthwise": [torch.zeros(2, 3, 8)] * 2}, r"depthwise\[0\] is \[2, 3, 8\]; it must be \[E, K, K, C\]"),
        ({"depthwise": [torch.zeros(2, 4, 4, 8)] * 2}, r"depthwise\[0\] is .*; it must be .* with an odd K"),
        ({"depthwise": [torch.zeros(2, 3, 5, 8)] * 2}, r"depthwise\[0\] is .* \[2, 3, 5, 8\]; .* \[2, 3, 3, 8\]"),
        ({"pointwise": [torch.zeros(2, 8, 7)] * 2}, r"pointwise\[0\] is .* \[2, 8, 7\]; it must be .* \[2, 8, 8\]"),
        ({"pointwise": [torch.zeros(2, 8, 8).double()] * 2}, r"pointwise\[0\] is torch.float64"),
        ({"pointwise": [torch.zeros(2, 8, 8, device="meta")] * 2}, r"pointwise\[0\] is on meta; it must be on cpu"),
        ({"rstd": None}, "mean and rstd belong together: give both or neither"),
        ({"mean": torch.zeros(1, 8)}, r"mean is .* \[(1, )?8\]; it must be torch.float32 \[(1, )?1, 8\]"),
        ({"rstd": torch.zeros(1, 1, 8).double()}, "rstd is torch.float64"),
    ],
)
def test_errors_of_both_stages(change: dict, message: str) -> None:
    case = stage_case()
    for name, value in change.items():
        setattr(case, name, value)
    assert_refused(OPS.stage, case.forward_arguments(), f"stage: {message}")
    assert_refused(OPS.stage_backward, case.backward_arguments(), f"stage_backward: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grads": []}, "grads and y hold 0 and 2 tensors; 2 kinds on 2 edges need 4 and 2"),
        ({"y": []}, "grads and y hold 4 and 0 tensors"),
        ({"grads": [torch.zeros(2, 6, 7, 9)] * 4}, r"grads\[0\] is .* \[2, 6, 7, 9\]; it must be .* \[2, 6, 7, 8\]"),
        ({"y": [torch.zeros(1)] * 2}, r"y\[0\] is .* \[1\]; it must be torch.float32 or .*16 \[2, 2, 6, 7, 8\]"),
        ({"coefficients": torch.zeros(3)}, r"coefficients is .* \[3\]; it must be torch.float32 \[2, 2, 3, 8\]"),
    ],
)
def test_errors_of_the_backward_stage(change: dict, message: str) -> None:
    case = stage_case()
    for name, value in change.items():
        setattr(case, name, value)
    assert_refused(OPS.stage_backward, case.backward_arguments(), f"stage_backward: {message}")


def stage_case():
    """Arguments that fit: 2 kinds on 2 edges."""
    return make(Shape((2, 6, 7, 8), ((3, 1), (5, 2)), norm=True), torch.float32, normal(torch.float32, 9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grad": torch.zeros(2)}, r"grad is torch.float32 \[2\]; it must be \[N, C, ...\] of floating numbers"),
        ({"grad": torch.zeros(2, 3).int()}, "grad is torch.int32"),
        ({"inputs": []}, "norm has 2 entries for 0 inputs; at least one is needed"),
        ({"norm": [0]}, "norm has 1 entries for 2 inputs"),
        ({"inputs": [torch.zeros(2, 3), torch.zeros(2, 4)]}, r"inputs\[1\] is .* \[2, 4\]; it must be .* \[2, 3\]"),
        ({"inputs": [torch.zeros(2, 3), torch.zeros(2, 3).bfloat16()]}, r"inputs\[1\] is torch.bfloat16"),
        ({"inputs": [torch.zeros(2, 3, device="meta")] * 2}, r"inputs\[0\] is on meta; it must be on cpu"),
        ({"mean": None}, "normalised inputs need both mean and rstd"),
        ({"mean": None, "rstd": None}, "normalised inputs need both mean and rstd"),
        ({"norm": [0, 0], "rstd": None}, "normalised inputs need both mean and rstd"),
        ({"mean": torch.zeros(3)}, r"mean is .* \[3\]; it must be torch.float32 \[2, 3\]"),
        ({"rstd": torch.zeros(2, 3).double()}, "rstd is torch.float64"),
    ],
)
def test_errors_of_channel_sums(change: dict, message: str) -> None:
    plain = torch.zeros(2, 3)
    fitting = {"grad": plain, "inputs": [plain, plain], "norm": [1, 0], "mean": plain, "rstd": plain}
    assert_refused(OPS.channel_sums, tuple({**fitting, **change}.values()), f"channel_sums: {message}")
