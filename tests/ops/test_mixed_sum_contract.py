"""mixed_sum: op x backend x dtype x layout x awkward shapes, forward and backward, by the rule of tests/tolerances."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ddarts.ops
from tests.ops.backends import BACKENDS, gradients_on, run_on
from tests.ops.op_cases import DTYPES, LAYOUTS, SHAPES, eager, gradients, integers, normal
from tests.tolerances import FORWARD, GRADIENT, assert_as_accurate

pytestmark = pytest.mark.usefixtures("poisoned_memory")
MATRIX = [
    (backend, layout, shape)
    for backend in BACKENDS
    # The interpreter and the emulation are slow: for them the layouts and shapes that differ most.
    for layout in (LAYOUTS if backend in ("reference", "cpp") else ("contiguous", "channels_last", "strided"))
    for shape in (SHAPES if backend in ("reference", "cpp") else SHAPES[::3])
]


def test_memory_is_poisoned() -> None:
    assert torch.empty(8).isnan().all()


def weight_dtypes(dtype: torch.dtype) -> list[torch.dtype]:
    return [dtype] if dtype.itemsize > 2 else [dtype, torch.float32]


def compare(backend: str, inputs: list[Tensor], weights: Tensor, grad: Tensor) -> None:
    """The three results of a backend against float64, allowing for eager's own error."""
    got = gradients_on(backend, inputs, weights, grad)
    wide = gradients(eager, [x.double() for x in inputs], weights.double(), grad.double())
    plain = gradients(eager, inputs, weights.to(inputs[0].dtype), grad)
    assert got[0].dtype == inputs[0].dtype and got[2].dtype == weights.dtype
    assert_as_accurate(got[0], plain[0], wide[0], FORWARD, "output")
    for i, (k, e, r) in enumerate(zip(got[1], plain[1], wide[1], strict=True)):
        assert k.dtype == inputs[i].dtype
        assert_as_accurate(k, e, r, GRADIENT, f"gradient of input {i}")
    assert_as_accurate(got[2], plain[2], wide[2], GRADIENT, "gradient of the weights")


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize(("backend", "layout", "shape"), MATRIX, ids=str)
def test_contract(backend: str, layout: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    make = LAYOUTS[layout]
    inputs = [make(shape, normal(dtype, seed)) for seed in range(4)]
    grad = make(shape, normal(dtype, 9))
    for weight_dtype in weight_dtypes(dtype):
        compare(backend, inputs, normal(weight_dtype, 5)((4,)), grad)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(0, 3), st.sampled_from([1, 3, 16, 17, 36]), st.integers(0, 9), st.integers(0, 9)),
    st.lists(st.sampled_from(sorted(LAYOUTS)), min_size=1, max_size=6),
    st.sampled_from(DTYPES),
    st.sampled_from(sorted(LAYOUTS)),
)
def test_mixed_layouts(shape: tuple[int, ...], layouts: list[str], dtype: torch.dtype, grad_layout: str) -> None:
    inputs = [LAYOUTS[name](shape, normal(dtype, seed)) for seed, name in enumerate(layouts)]
    grad = LAYOUTS[grad_layout](shape, normal(dtype, 77))
    compare("cpp", inputs, normal(dtype, 78)((len(inputs),)), grad)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "offset"])
def test_whole_numbers_are_exact(layout: str, dtype: torch.dtype, backend: str) -> None:
    shape = (2, 3, 9, 7)
    inputs = [LAYOUTS[layout](shape, integers(dtype, seed)) for seed in range(5)]
    weights, grad = integers(dtype, 6)((5,)), LAYOUTS[layout](shape, integers(dtype, 7))
    wide = gradients(eager, [x.double() for x in inputs], weights.double(), grad.double())
    got = gradients_on(backend, inputs, weights, grad)
    assert torch.equal(got[0].double(), wide[0])
    assert all(torch.equal(k.double(), r) for k, r in zip(got[1], wide[1], strict=True))
    assert torch.equal(got[2], wide[2].to(got[2].dtype))  # one rounding, of an exact sum


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
def test_rounds_to_nearest_even_and_keeps_specials(backend: str, dtype: torch.dtype) -> None:
    """Ties, subnormals, the largest numbers, infinities and NaN go through as torch's own conversion takes them."""
    info = torch.finfo(dtype)
    specials = [0.0, -0.0, 1.0, 1 + info.eps, info.max, -info.max, info.tiny, info.tiny / 4, float("inf"), float("nan")]
    x = torch.tensor(specials * 7, dtype=dtype).view(1, 1, 7, 10)
    half = 1 + 0.5 * 2.0**-7  # a tie between two bfloat16 numbers
    for weight in (1.0, 0.5, 0.0, half, 3.0):
        w = torch.tensor([weight], dtype=torch.float32 if dtype.itemsize == 2 else dtype)
        with run_on(backend) as device:
            got = ddarts.ops.mixed_sum([x.to(device)], w.to(device)).cpu()
        wide = torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(got, (x.to(wide) * w).to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weight_zero_does_not_hide_infinity(backend: str) -> None:
    x = [torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), float("inf"))]
    with run_on(backend) as device:
        assert ddarts.ops.mixed_sum([v.to(device) for v in x], torch.tensor([1.0, 0.0], device=device)).isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("contiguous", torch.contiguous_format),
        ("channels_last", torch.channels_last),
        ("strided", torch.contiguous_format),
        ("transposed", torch.contiguous_format),
    ],
)
def test_result_has_the_first_inputs_layout(backend: str, layout: str, expected: torch.memory_format) -> None:
    inputs = [LAYOUTS[name]((2, 3, 4, 5), normal(torch.float32, 1)) for name in (layout, "contiguous", "channels_last")]
    out, grad_inputs, _ = gradients_on(backend, inputs, torch.rand(3), torch.randn(2, 3, 4, 5))
    assert all(t.is_contiguous(memory_format=expected) for t in (out, *grad_inputs))


def test_any_number_of_dimensions() -> None:
    for shape in [(), (5,), (2, 3), (2, 3, 4, 5, 6)]:
        inputs = [normal(torch.float32, seed)(shape) for seed in range(3)]
        compare("cpp", inputs, torch.rand(3), normal(torch.float32, 9)(shape))
