"""mixed_sum with batch normalisation: kind of case x backend x dtype x layout x awkward shapes, both directions."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import ddarts.ops
from ddarts.ops import Norm
from tests.ops.backends import BACKENDS, run_on
from tests.ops.normalized_cases import Case, cases, eager, expected, run, sizes
from tests.ops.op_cases import DTYPES, LAYOUTS, SHAPES, gradients, integers, normal
from tests.tolerances import FORWARD, GRADIENT, assert_as_accurate

pytestmark = pytest.mark.usefixtures("poisoned_memory")
KINDS = tuple(cases(torch.float32, "contiguous", (2, 3, 2, 2)))
# The interpreter and the emulation are slow: for them the shapes that differ most.
FEW = [shape for shape in SHAPES if shape in ((0, 3, 5, 7), (1, 36, 1, 1), (2, 16, 7, 5), (3, 17, 9, 3))]
MATRIX = [
    (backend, layout, shape)
    for backend in BACKENDS
    for layout in (LAYOUTS if backend in ("reference", "cpp") else ("contiguous", "channels_last", "strided"))
    for shape in (SHAPES if backend in ("reference", "cpp") else FEW)
]


def compare(backend: str, case: Case, what: str) -> None:
    """The results of a backend against float64, allowing for eager's own error."""
    with run_on(backend) as device:
        got = run(case.to(device))
    reference, plain = expected(case.double()), expected(case.plain())
    dtype = case.inputs[0].dtype
    assert got[0].dtype == dtype and got[2].dtype == case.weights.dtype
    size = sizes(case)
    assert_as_accurate(got[0].cpu(), plain[0], reference[0], FORWARD, f"{what}: output", size.output)
    for u, (k, e, r) in enumerate(zip(got[1], plain[1], reference[1], strict=True)):
        assert k.dtype == dtype
        assert_as_accurate(k.cpu(), e, r, GRADIENT, f"{what}: gradient of input {u}", size.inputs)
    assert_as_accurate(got[2].cpu(), plain[2], reference[2], GRADIENT, f"{what}: gradient of the weights", size.weights)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize(("backend", "layout", "shape"), MATRIX, ids=str)
def test_contract(backend: str, layout: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for kind, case in cases(dtype, layout, shape).items():
        compare(backend, case, kind)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_weights_beside_16_bits(backend: str, dtype: torch.dtype) -> None:
    for kind, case in cases(dtype, "channels_last", (2, 16, 7, 5), torch.float32).items():
        compare(backend, case, kind)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(0, 3), st.sampled_from([1, 3, 16, 17, 36]), st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(DTYPES),
    st.sampled_from(KINDS),
)
def test_any_shape(shape: tuple[int, ...], layout: str, dtype: torch.dtype, kind: str) -> None:
    compare("cpp", cases(dtype, layout, shape)[kind], kind)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 7), (2, 3, 4, 5, 2)], ids=str)
def test_other_numbers_of_dimensions(backend: str, shape: tuple[int, ...]) -> None:
    make = normal(torch.float32, 1)
    norm = [Norm.BATCH, Norm.NONE]
    compare(backend, Case([make(shape), make(shape)], make((2,)), make(shape), [0, 1], norm), str(shape))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "offset"])
def test_whole_numbers_are_exact(layout: str, dtype: torch.dtype, backend: str) -> None:
    shape, wide = (2, 3, 5, 7), torch.promote_types(dtype, torch.float32)
    inputs = [LAYOUTS[layout](shape, integers(dtype, seed)) for seed in range(3)]
    statistics = integers(wide, 4)((3, 3)), 2.0 ** integers(wide, 5)((3, 3)).clamp(-1, 1)
    grad, weights = LAYOUTS[layout](shape, integers(dtype, 7)), integers(dtype, 6)((4,))
    norm = [Norm.FIXED, Norm.NONE, Norm.FIXED]
    case = Case(inputs, weights, grad, [0, 1, 2, 0], norm, statistics, torch.tensor([True, True, False, True]))
    want = expected(case.double())
    with run_on(backend) as device:
        got = run(case.to(device))
    assert torch.equal(got[0].cpu().double(), want[0])
    assert all(torch.equal(k.cpu().double(), r) for k, r in zip(got[1], want[1], strict=True))
    assert torch.equal(got[2].cpu(), want[2].to(dtype))


@pytest.mark.parametrize("backend", BACKENDS)
def test_computed_statistics(backend: str) -> None:
    """Accurate where the mean is large beside the deviation; 0 and 1 where there is nothing to compute."""
    shape = (3, 17, 9, 11)
    inputs = [normal(torch.float32, u)(shape) * 0.5 + offset for u, offset in enumerate((0.0, 1000.0, 1.0, -50.0))]
    with run_on(backend) as device:
        _, mean, rstd = ddarts.ops.mixed_sum_with_statistics(
            [x.to(device) for x in inputs],
            torch.ones(4, device=device),
            norm=[Norm.BATCH, Norm.BATCH, Norm.NONE, Norm.BATCH],
            keep=torch.tensor([True, True, True, False], device=device),
        )
    mean, rstd = mean.cpu(), rstd.cpu()
    for u in (0, 1):
        flat = inputs[u].double().transpose(0, 1).flatten(1)
        torch.testing.assert_close(mean[u].double(), flat.mean(1), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(rstd[u].double(), (flat.var(1, correction=0) + 1e-5).rsqrt(), rtol=2e-5, atol=0)
    assert mean[2:].eq(0).all() and rstd[2:].eq(1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: str) -> None:
    """Through the statistics, with shared and masked inputs and logits, by finite differences."""
    inputs = [normal(torch.float64, u)((2, 3, 3, 2)).requires_grad_() for u in range(3)]
    weights = normal(torch.float64, 8)((5,)).requires_grad_()
    options = {"source": [0, 1, 2, 0, 1], "norm": [1, 1, 0], "logits": True}
    with run_on(backend) as device:
        keep = torch.tensor([True, True, True, True, False], device=device)
        leaves = [x.detach().to(device).requires_grad_() for x in inputs]
        w = weights.detach().to(device).requires_grad_()
        assert torch.autograd.gradcheck(lambda w, *x: ddarts.ops.mixed_sum(x, w, keep=keep, **options), (w, *leaves))


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    for kind, case in cases(torch.float32, "channels_last", (2, 3, 4, 5)).items():
        with run_on(backend) as device:
            moved = case.to(device)
            given = moved.statistics or (None, None)
            terms = (list(case.source), [int(n) for n in case.norm], *given, moved.keep, case.logits)
            inputs = [x.requires_grad_() for x in moved.inputs]
            if kind in (
                "masked",
                "given",
                "all masked",
            ):  # NaN, or given statistics
                inputs = [x.detach() for x in inputs]
            torch.library.opcheck(torch.ops.ddarts.mixed_sum.default, (inputs, moved.weights, *terms, 1e-5))
            ready = moved if moved.statistics or Norm.BATCH not in case.norm else None
            if ready is not None:
                arguments = (moved.grad, [x.detach() for x in inputs], moved.weights, *terms, [0, 2], True)
                torch.library.opcheck(torch.ops.ddarts.mixed_sum_backward.default, arguments)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wanted", ["weights", "one input", "inputs"])
def test_only_what_is_needed(wanted: str, backend: str) -> None:
    case = cases(torch.float32, "channels_last", (2, 16, 5, 3))["computed"]
    want = expected(case)
    with run_on(backend) as device:
        moved = case.to(device)
        needed = {"weights": [], "one input": [1], "inputs": range(4)}[wanted]
        inputs = [x.detach().requires_grad_(u in needed) for u, x in enumerate(moved.inputs)]
        w = moved.weights.detach().requires_grad_(wanted == "weights")
        out = ddarts.ops.mixed_sum(inputs, w, norm=case.norm)
        leaves = [t for t in (*inputs, w) if t.requires_grad]
        found = [g.cpu() for g in torch.autograd.grad(out, leaves, moved.grad)]
    for k, r in zip(found, [want[2]] if wanted == "weights" else [want[1][u] for u in needed], strict=True):
        torch.testing.assert_close(k, r, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph(compiler: str) -> None:
    case = cases(torch.float32, "channels_last", (2, 3, 5, 4))["shared logits"]

    def node(inputs: list[Tensor], weights: Tensor) -> Tensor:
        return ddarts.ops.mixed_sum(inputs, weights, source=case.source, norm=case.norm, logits=True).relu()

    compiled = torch.compile(node, backend=compiler, fullgraph=True)
    got, want = (gradients(f, case.inputs, case.weights, case.grad) for f in (compiled, node))
    for k, r in zip([got[0], *got[1], got[2]], [want[0], *want[1], want[2]], strict=True):
        torch.testing.assert_close(k, r)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_same_bits_twice_and_for_any_thread_count(
    layout: str, dtype: torch.dtype, set_threads: Callable[[int], None]
) -> None:
    case = cases(dtype, layout, (3, 17, 41, 37))["computed"]
    results = []
    with ddarts.ops.use_backend("cpp"):
        for threads in (1, 1, 2, 3):
            set_threads(threads)
            results.append(run(case))
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0]) and torch.equal(other[2], results[0][2])
        assert all(torch.equal(a, b) for a, b in zip(other[1], results[0][1], strict=True))


def test_plain_cases_are_what_they_say() -> None:
    """The comparison itself: eager in float64 equals torch's own BN, term by term."""
    case = cases(torch.float64, "contiguous", (2, 3, 4, 5))["computed"]
    z = [torch.nn.BatchNorm2d(3, affine=False).double()(x) if u != 2 else x for u, x in enumerate(case.inputs)]
    total = sum(w * x for w, x in zip(case.weights, z, strict=True))
    torch.testing.assert_close(eager(case, case.inputs, case.weights), total)


def test_flops_are_counted() -> None:
    """8 numbers an input: 3 inputs, of which 2 with statistics of the batch."""
    inputs = [torch.ones(2, 2, 2, requires_grad=True) for _ in range(3)]
    weights = torch.ones(3, requires_grad=True)
    with ddarts.ops.use_backend("reference"), FlopCounterMode(display=False) as forward:
        out = ddarts.ops.mixed_sum(inputs, weights, norm=[1, 1, 0])
    assert forward.get_total_flops() == 8 * (2 * 3 + 4 * 2)
    with ddarts.ops.use_backend("reference"), FlopCounterMode(display=False) as backward:
        torch.autograd.grad(out, [*inputs, weights], torch.ones_like(out))
    assert backward.get_total_flops() == 8 * (2 * 3 + 1 + 3 + 3 * 2)
