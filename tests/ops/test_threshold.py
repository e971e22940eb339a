"""threshold: every recorded case through every backend, ties, thresholds equal to values, NaN, and the torch side."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ddarts.ops
from ddarts.genotype.parse import METHODS, keep_mask, parse
from ddarts.genotype.table import cells_of_table
from ddarts.ops.thresholding import METHODS as OPERATOR_METHODS
from ddarts.space.primitives import DARTOPTI, DDARTS, SPACES, Space
from ddarts.space.topology import num_edges
from tests.ops.backends import BACKENDS, run_on

pytestmark = pytest.mark.usefixtures("poisoned_memory")
FILES = Path(__file__).parents[1] / "data_files"
CASES = json.loads((FILES / "parse_cases.json").read_text())["cases"]
INPUTS = dict(np.load(FILES / "parse_inputs.npz", allow_pickle=False))


def check(backend: str, alphas: Tensor, space: Space, steps: int, method: str, value: float) -> None:
    """The operator's three results against the parser that reads α files."""
    with run_on(backend) as device:
        found = ddarts.ops.threshold(alphas.to(device), steps, method, value)
    keep, table, counts = (t.cpu() for t in found)
    values = alphas.double().numpy()
    assert keep.dtype == torch.bool and table.dtype == counts.dtype == torch.int32
    assert np.array_equal(keep.numpy(), keep_mask(values, space, steps, method, value))
    assert cells_of_table(table.numpy(), counts.numpy(), space) == parse(values, space, steps, method, value)
    for rows, count in zip(table, counts, strict=True):
        assert rows[count:].eq(-1).all()


def stack(seed: int, space: Space, steps: int, dtype: torch.dtype) -> Tensor:
    """13 cells of few different values, among them 0, 1 and the threshold 0.75: full of ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 5, (13, num_edges(steps), len(space)), generator=generator).to(dtype) / 4


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['alphas']}-{c['parse_method']}-{c['op_threshold']}")
@pytest.mark.parametrize("backend", BACKENDS)
def test_recorded_cases(backend: str, case: dict) -> None:
    alphas = torch.from_numpy(INPUTS[case["alphas"]])
    check(backend, alphas, SPACES[case["space"]], case["steps"], case["parse_method"], case["op_threshold"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_and_values_equal_to_the_threshold(backend: str, dtype: torch.dtype, method: str) -> None:
    for seed in range(3):
        check(backend, stack(seed, DARTOPTI, 6, dtype), DARTOPTI, 6, method, 0.75)
    check(backend, stack(9, DDARTS, 4, dtype), DDARTS, 4, method, 0.75)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("backend", BACKENDS)
def test_other_numbers_of_nodes(backend: str, steps: int) -> None:
    for method in METHODS:
        check(backend, stack(steps, DDARTS, steps, torch.float64), DDARTS, steps, method, 0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_threshold_is_compared_in_float64(backend: str) -> None:
    """float32(0.85) lies above 0.85 and float32(0.9) below 0.9: the one is kept, the other not."""
    for value in (0.85, 0.9, 1.0, 0.0):
        alphas = torch.full((1, num_edges(2), 7), value)
        with run_on(backend) as device:
            keep = ddarts.ops.threshold(alphas.to(device), 2, "threshold_complete", value)[0]
        assert keep.all().item() == keep.any().item() == (float(np.float32(value)) >= value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_is_below_every_number(backend: str) -> None:
    alphas = torch.full((1, num_edges(2), 7), 0.9)
    alphas[0, 0] = float("nan")
    alphas[0, 1, 0] = float("nan")
    with run_on(backend) as device:
        keep, table, counts = ddarts.ops.threshold(alphas.to(device), 2, "threshold_sparse", 0.5)
        complete = ddarts.ops.threshold(alphas.to(device), 2, "threshold_complete", 0.5)[0]
    assert table[0, : counts[0]].tolist() == [[2, 1, 1], [3, 0, 0], [3, 1, 0]]
    assert keep.sum() == 3 and torch.equal(complete.cpu(), alphas >= 0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits(backend: str) -> None:
    logits = torch.linspace(-4, 4, 3 * 14 * 7).view(3, 14, 7)
    with run_on(backend) as device:
        for method in METHODS:
            found = ddarts.ops.threshold(logits.to(device), 4, method, 0.7, logits=True)
            plain = ddarts.ops.threshold(logits.double().sigmoid().to(device), 4, method, 0.7)
            assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_stride_and_no_cells(backend: str) -> None:
    alphas = stack(1, DDARTS, 4, torch.float64)
    with run_on(backend) as device:
        moved = alphas.to(device)
        strided = moved.transpose(0, 2).contiguous().transpose(0, 2)
        for a, b in zip(ddarts.ops.threshold(strided, 4), ddarts.ops.threshold(moved, 4), strict=True):
            assert torch.equal(a, b)
        keep, table, counts = ddarts.ops.threshold(moved[:0], 4)
    assert keep.shape == (0, 14, 7) and table.shape == (0, 8, 3) and counts.shape == (0,)


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    with run_on(backend) as device:
        for method in range(4):
            arguments = (stack(0, DDARTS, 4, torch.float32).to(device), 4, method, 0.75, False)
            torch.library.opcheck(torch.ops.ddarts.threshold.default, arguments)


def test_compiles_as_one_graph() -> None:
    def kept(alphas: Tensor) -> Tensor:
        return ddarts.ops.threshold(alphas, 4, "threshold_edge", logits=True)[0].sum((1, 2))

    alphas = torch.randn(8, 14, 7)
    assert torch.equal(torch.compile(kept, backend="aot_eager", fullgraph=True)(alphas), kept(alphas))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("shape", "steps", "method", "message"),
    [
        ((8, 14, 7), 5, "darts", r"alphas is \[8, 14, 7\]; it must be \[cells, 20, operations\]"),
        ((14, 7), 4, "darts", r"alphas is \[14, 7\]; it must be \[cells, 14, operations\]"),
        ((8, 14, 0), 4, "darts", r"alphas is \[8, 14, 0\]"),
        ((8, 0, 7), 0, "darts", r"alphas is \[8, 0, 7\]"),
        ((8, 14, 7), 4, "best", "method is 'best'; allowed are darts, threshold_sparse"),
    ],
)
def test_errors_name_what_does_not_fit(backend: str, shape: tuple, steps: int, method: str, message: str) -> None:
    with run_on(backend), pytest.raises(ValueError, match=message):
        ddarts.ops.threshold(torch.zeros(shape), steps, method)


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="alphas is torch.int64; allowed are torch.float32"):
        ddarts.ops.threshold(torch.zeros(1, 14, 7, dtype=torch.int64), 4)


def test_the_methods_are_the_parsers() -> None:
    assert OPERATOR_METHODS == METHODS


def test_what_is_no_tensor_is_named() -> None:
    with pytest.raises(TypeError, match=r"^threshold: alphas is ndarray; it must be a torch.Tensor$"):
        ddarts.ops.threshold(np.ones((1, 2, 7)), 1)
