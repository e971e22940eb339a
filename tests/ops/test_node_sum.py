"""node_sum: the same on every backend; each group as mixed_sum alone. Legend: G groups, U terms, C channels."""

from collections.abc import Callable, Sequence

import pytest
import torch
from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.mixed_sum import reference
from torch import Tensor
from torch.library import opcheck

import ddarts.ops
from tests.bits import assert_same_bits
from tests.ops.backends import WITHOUT_CUDA, call_on, moved, run_on
from tests.ops.op_cases import DTYPES, LAYOUTS, integers, normal
from tests.tolerances import FORWARD, assert_as_accurate

OPS = torch.ops.ddarts
# Images of a group, groups of each run, U, and the rest of the shape.
CASES = [
    (1, (1,), 1, (1, 1, 1)), (2, (1,), 3, (16, 8, 8)), (3, (2, 1), 5, (5, 7, 3)), (1, (3, 1, 1), 2, (17, 9, 1)),
    (2, (4,), 14, (32, 16, 16)), (5, (1, 1), 4, (2100, 1, 2)), (0, (2,), 2, (3, 4, 1)), (2, (1, 2), 2, (3, 0, 2)),
]  # fmt: skip
backends = pytest.mark.parametrize("backend", WITHOUT_CUDA)
cases = pytest.mark.parametrize("case", CASES, ids=str)
MATRIX = [
    (backend, case, layout)
    for backend in WITHOUT_CUDA
    # The interpreter is slow: for it the layouts and cases that differ most.
    for case in (CASES if backend != "triton" else (CASES[2], CASES[3], CASES[6]))
    for layout in (LAYOUTS if backend != "triton" else ("contiguous", "channels_last"))
]
Arguments = tuple[list[Tensor], Tensor, Tensor | None, Tensor | None]


def made(case: tuple, layout: str, dtype: torch.dtype, norm: bool, fill: Callable = normal) -> Arguments:
    images, runs, terms, rest = case
    wide, groups = accumulation_dtype(dtype), sum(runs)
    shapes = [(images * run, *rest) for run in runs for _ in range(terms)]
    inputs = [LAYOUTS[layout](shape, fill(dtype, seed)) for seed, shape in enumerate(shapes)]
    weights, lines = fill(dtype, 97)((groups, terms)), (groups, terms, rest[0])
    if not norm:
        return inputs, weights, None, None
    return inputs, weights, fill(wide, 98)(lines), fill(wide, 99)(lines).abs() + 1


def run(backend: str, arguments: Arguments) -> Tensor:
    return call_on(backend, OPS.node_sum, *arguments)


def widened(arguments: Arguments) -> Arguments:
    inputs, *rest = arguments
    return [x.double() for x in inputs], *(None if x is None else x.double() for x in rest)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "normalised"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize(("backend", "case", "layout"), MATRIX, ids=str)
def test_contract(backend: str, case: tuple, layout: str, dtype: torch.dtype, norm: bool) -> None:
    arguments = made(case, layout, dtype, norm)
    got, eager = run(backend, arguments), reference.node_sum(*arguments)
    assert got.dtype == dtype and got.stride() == eager.stride()
    assert_as_accurate(got, eager, reference.node_sum(*widened(arguments)), FORWARD, str(case))
    whole = made(case, layout, torch.float32, norm, integers)
    assert torch.equal(run(backend, whole).double(), reference.node_sum(*widened(whole)))


@pytest.mark.parametrize("backend", ["reference", "cpp"])
@cases
def test_every_group_is_a_mixed_sum(backend: str, case: tuple) -> None:
    images, runs, terms, _ = case
    arguments = made(case, "contiguous", torch.float64, True)
    inputs, weights, mean, rstd = arguments
    parts = run(backend, arguments).split(images or 1)
    group = 0
    for i, count in enumerate(runs):
        for j in range(count if images else 0):
            mine = [x[j * images : (j + 1) * images] for x in inputs[i * terms : (i + 1) * terms]]
            alone = ddarts.ops.mixed_sum(mine, weights[group], norm=[2] * terms, statistics=(mean[group], rstd[group]))
            torch.testing.assert_close(parts[group], alone, rtol=1e-12, atol=1e-12)
            group += 1


def test_any_number_of_threads_gives_the_same_bits(set_threads: Callable[[int], None]) -> None:
    arguments = made((2, (3, 1), 5, (16, 23, 11)), "channels_last", torch.float32, True)
    found = []
    for threads in (1, 2, 3):
        set_threads(threads)
        found.append([run("cpp", arguments)])
    for others in found[1:]:
        assert_same_bits(others, found[0])


@backends
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "normalised"])
def test_opcheck(backend: str, norm: bool) -> None:
    with run_on(backend) as device:
        for layout in ("contiguous", "channels_last"):
            arguments = made((2, (2, 1), 3, (3, 5, 4)), layout, torch.float64, norm)
            opcheck(OPS.node_sum.default, moved(arguments, device))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: []}, "inputs holds 0 tensors; it must hold runs of 2, at least one"),
        ({0: [torch.zeros(4, 3)] * 3}, "inputs holds 3 tensors"),
        ({0: [torch.zeros(4, 3).int()] * 2}, r"inputs\[0\] is torch.int32 \[4, 3\]; it must be torch.float32 or"),
        ({0: [torch.zeros(4)] * 2}, r"inputs are \[4\]; they must be \[N, C, ...\]"),
        ({1: torch.zeros(2, 2).int()}, "weights is torch.int32; allowed are torch.float32, "),
        ({0: [torch.zeros(4, 3), torch.zeros(4, 2)]}, r"inputs\[1\] is .* \[4, 2\]; it must be .* \[4, 3\]"),
        ({0: [torch.zeros(3, 3)] * 2}, "groups is 2; it must be at least 1 and divide the 3 images"),
        ({0: [torch.zeros(1, 3)] * 2 + [torch.zeros(3, 3)] * 2}, r"inputs\[0\] holds 1 images; .* groups of 2"),
        ({1: torch.zeros(4)}, r"weights is \[4\]; it must be \[G, U\]"),
        ({1: torch.zeros(2, 2).double()}, r"inputs\[0\] is torch.float32 .*; it must be torch.float64"),
        ({3: None}, "mean and rstd belong together"),
        ({2: torch.zeros(2, 3)}, r"mean is .* \[2, 3\]; it must be torch.float32 \[2, 2, 3\]"),
    ],
)
def test_errors_name_the_argument(change: dict, message: str) -> None:
    lines = torch.zeros(2, 2, 3)
    fitting: Sequence = ([torch.zeros(4, 3)] * 2, torch.zeros(2, 2), lines, lines)
    with pytest.raises(ValueError, match=f"^node_sum: {message}"):
        OPS.node_sum(*(change.get(i, value) for i, value in enumerate(fitting)))
