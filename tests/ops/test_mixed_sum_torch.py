"""mixed_sum as a torch operator: opcheck, gradcheck, compile, determinism, autocast, partial gradients, errors."""

from collections.abc import Callable

import numpy
import pytest
import torch
from torch import Tensor

import ddarts.ops
from tests.ops.backends import BACKENDS, run_on
from tests.ops.op_cases import LAYOUTS, eager, gradients, normal

SHAPE = (2, 3, 5, 4)


def case(n: int = 3, dtype: torch.dtype = torch.float32, layout: str = "contiguous") -> tuple[list[Tensor], Tensor]:
    inputs = [LAYOUTS[layout](SHAPE, normal(dtype, seed)).requires_grad_() for seed in range(n)]
    return inputs, normal(dtype, 50)((n,)).requires_grad_()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str, layout: str) -> None:
    terms = [0, 1, 2], [0, 0, 0], None, None, None, False
    with run_on(backend) as device:
        inputs, weights = case(layout=layout)
        plain, w = [x.detach().to(device) for x in inputs], weights.detach().to(device)
        grad = LAYOUTS[layout](SHAPE, normal(torch.float32, 60)).to(device)
        leaves = [x.clone(memory_format=torch.preserve_format).requires_grad_() for x in plain]
        torch.library.opcheck(torch.ops.ddarts.mixed_sum.default, (leaves, w.clone().requires_grad_(), *terms, 1e-5))
        torch.library.opcheck(torch.ops.ddarts.mixed_sum.default, (plain, w, *terms, 1e-5))
        for wanted, need_weights in [([0, 1, 2], True), ([2, 0], False), ([], True), ([], False)]:
            arguments = (grad, plain, w, *terms, wanted, need_weights)
            torch.library.opcheck(torch.ops.ddarts.mixed_sum_backward.default, arguments)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "expanded"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: str, layout: str) -> None:
    inputs, weights = case(dtype=torch.float64, layout=layout)
    dense = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
    with run_on(backend) as device:
        leaves = [x.detach().to(device).requires_grad_() for x in (weights, *dense)]
        assert torch.autograd.gradcheck(lambda w, *x: ddarts.ops.mixed_sum(x, w), leaves)


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph(compiler: str) -> None:
    inputs, weights = case(layout="channels_last")
    grad = normal(torch.float32, 60)(SHAPE)

    def layer(x: list[Tensor], w: Tensor) -> Tensor:
        return ddarts.ops.mixed_sum([x[0] * 2, *x[1:]], w.sigmoid()).relu()

    got = gradients(torch.compile(layer, backend=compiler, fullgraph=True), inputs, weights, grad)
    want = gradients(layer, inputs, weights, grad)
    for k, r in zip([got[0], *got[1], got[2]], [want[0], *want[1], want[2]], strict=True):
        torch.testing.assert_close(k, r)


def test_backend_is_chosen_when_a_compiled_graph_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from ddarts.ops import dispatch

    inputs, weights = [x.detach() for x in case()[0]], torch.ones(3)
    compiled = torch.compile(lambda x, w: ddarts.ops.mixed_sum(x, w), backend="aot_eager", fullgraph=True)
    ran = []
    for backend in ("reference", "cpp"):
        real = dispatch._implementations["mixed_sum"][backend]
        spy = dispatch.Implementation(lambda *a, b=backend, f=real.function: ran.append(b) or f(*a), real.devices)
        monkeypatch.setitem(dispatch._implementations["mixed_sum"], backend, spy)
    for backend in ("reference", "cpp"):
        with ddarts.ops.use_backend(backend):
            compiled(inputs, weights)
    assert ran == ["reference", "cpp"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_same_bits_twice_and_for_any_thread_count(dtype: torch.dtype, set_threads: Callable[[int], None]) -> None:
    shape = (3, 17, 41, 37)  # five chunks, the last one short
    inputs = [normal(dtype, seed)(shape) for seed in range(4)]
    weights, grad = normal(dtype, 8)((4,)), normal(dtype, 9)(shape)
    results = []
    with ddarts.ops.use_backend("cpp"):
        for threads in (1, 1, 2, 3):
            set_threads(threads)
            moved = [torch.cat([x.new_zeros(threads), x.flatten()])[threads:].view(shape) for x in inputs]
            results.append(gradients(ddarts.ops.mixed_sum, moved, weights, grad))  # another alignment each time
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0]) and torch.equal(other[2], results[0][2])
        assert all(torch.equal(a, b) for a, b in zip(other[1], results[0][1], strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wanted", ["weights", "inputs", "one input", "nothing"])
def test_only_what_is_needed(wanted: str, backend: str) -> None:
    inputs, weights = case()
    inputs = [
        x.detach().requires_grad_(wanted == "inputs" or (wanted == "one input" and i == 1))
        for i, x in enumerate(inputs)
    ]
    weights = weights.detach().requires_grad_(wanted == "weights")
    with run_on(backend) as device:
        inputs, weights = [x.detach().to(device).requires_grad_(x.requires_grad) for x in inputs], weights.to(device)
        out = ddarts.ops.mixed_sum(inputs, weights)
        plain = eager(inputs, weights)
        leaves = [t for t in (*inputs, weights) if t.requires_grad]
        assert out.requires_grad == bool(leaves)
        if leaves:
            grad = normal(torch.float32, 60)(SHAPE).to(device)
            for k, r in zip(
                torch.autograd.grad(out, leaves, grad), torch.autograd.grad(plain, leaves, grad), strict=True
            ):
                torch.testing.assert_close(k, r)


def test_inputs_are_not_kept_alive_for_their_own_gradient() -> None:
    inputs, weights = case()
    out = ddarts.ops.mixed_sum([x * 1 for x in inputs], weights.detach())
    assert sum(t is not None and t.dim() == 4 for t in out.grad_fn.saved_tensors) == 0
    out = ddarts.ops.mixed_sum([x * 1 for x in inputs], weights)
    assert sum(t is not None and t.dim() == 4 for t in out.grad_fn.saved_tensors) == 3


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("of_grad", ["contiguous", "channels_last", "expanded"])
@pytest.mark.parametrize("of_weights", [False, True], ids=["inputs dropped", "inputs saved"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_have_the_layout_of_the_first_input(
    backend: str, of_weights: bool, of_grad: str, layout: str
) -> None:
    inputs, weights = case(layout=layout)
    with run_on(backend) as device:
        leaves = [x.detach().to(device).requires_grad_() for x in inputs]
        out = ddarts.ops.mixed_sum(leaves, weights.detach().to(device).requires_grad_(of_weights))
        grad = LAYOUTS[of_grad](SHAPE, normal(torch.float32, 60)).to(device)
        found = torch.autograd.grad(out, leaves, grad)
    for value, x, w in zip(found, leaves, weights.tolist(), strict=True):
        assert value.stride() == x.stride() == out.stride()
        torch.testing.assert_close(value, w * grad)


def test_one_tensor_given_twice_gets_both_gradients() -> None:
    x, weights = normal(torch.float64, 1)(SHAPE).requires_grad_(), torch.tensor([2.0, 3.0], dtype=torch.float64)
    ddarts.ops.mixed_sum([x, x], weights).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 5.0))


def test_second_derivative_is_refused() -> None:
    inputs, weights = case()
    out = ddarts.ops.mixed_sum(inputs, weights)
    (slope,) = torch.autograd.grad(out.square().sum(), [weights], create_graph=True)
    with pytest.raises(RuntimeError, match="ddarts::mixed_sum cannot be differentiated twice"):
        slope.sum().backward()


def test_autocast_promotes_mixed_inputs() -> None:
    a, b = normal(torch.bfloat16, 1)(SHAPE), normal(torch.float32, 2)(SHAPE)
    weights = torch.tensor([0.5, 2.0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ddarts.ops.mixed_sum([a, b], weights), 0.5 * a.float() + 2 * b)
        assert ddarts.ops.mixed_sum([a, a], weights).dtype == torch.bfloat16
        assert ddarts.ops.mixed_sum([b, b], weights.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("inputs", "weights", "message"),
    [
        ([], torch.ones(0), "inputs is an empty list"),
        ([torch.ones(2, 2), torch.ones(2, 3)], torch.ones(2), r"inputs\[1\] is \[2, 3\] but inputs\[0\] is \[2, 2\]"),
        ([torch.ones(2), torch.ones(2).double()], torch.ones(2), r"inputs\[1\] is torch.float64 but .* torch.float32"),
        ([torch.ones(2), torch.ones(2, device="meta")], torch.ones(2), r"inputs\[1\] is on meta but .* on cpu"),
        ([torch.ones(2)], torch.ones(1, device="meta"), r"weights is on meta but inputs\[0\] is on cpu"),
        ([torch.ones(2)], torch.ones(2), r"weights is \[2\]; it must be \[1\]"),
        ([torch.ones(2)], torch.ones(1).double(), "weights is torch.float64 but inputs are torch.float32"),
        ([torch.ones(2).int()], torch.ones(1), "inputs are torch.int32; allowed are torch.float32"),
    ],
)
def test_errors_name_what_does_not_fit(backend: str, inputs: list[Tensor], weights: Tensor, message: str) -> None:
    with run_on(backend), pytest.raises(ValueError, match=message):
        ddarts.ops.mixed_sum(inputs, weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": [0, 2]}, r"source\[1\] is 2, but there are 2 inputs"),
        ({"source": [0]}, r"weights is \[2\]; it must be \[1\], one for each term"),
        ({"norm": [0]}, "norm has 1 entries for 2 inputs"),
        ({"norm": [0, 3]}, r"norm\[1\] is 3; allowed are 0 \(none\), 1 \(batch\) and 2 \(fixed\)"),
        ({"norm": [2, 0]}, "fixed statistics need mean and rstd"),
        ({"statistics": (torch.ones(2, 3), None)}, "mean and rstd belong together"),
        ({"statistics": (torch.ones(2, 4), torch.ones(2, 3))}, r"mean is .* \[2, 4\]; it must be .* \[2, 3\]"),
        ({"statistics": (torch.ones(2, 3), torch.ones(2, 3).double())}, "rstd is torch.float64 .* must be torch.float"),
        ({"keep": torch.ones(2)}, r"keep is torch.float32 \[2\]; it must be torch.bool \[2\]"),
        ({"keep": torch.ones(3).bool()}, r"keep is torch.bool \[3\]"),
        ({"statistics": (torch.ones(2, 3),)}, r"statistics must be a pair of tensors, \(mean, rstd\)"),
        ({"statistics": torch.ones(2, 3)}, r"statistics must be a pair of tensors, \(mean, rstd\)"),
        ({"statistics": ()}, r"statistics must be a pair of tensors, \(mean, rstd\)"),
        ({"eps": -1e-5}, "eps is -1e-05; it must be a finite number, at least 0"),
        ({"eps": float("nan")}, "eps is nan; it must be a finite number, at least 0"),
        ({"eps": float("inf")}, "eps is inf; it must be a finite number, at least 0"),
        ({"eps": "1"}, "eps is 1; it must be a finite number, at least 0"),
    ],
)
def test_errors_name_the_option(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ddarts.ops.mixed_sum([torch.ones(2, 3), torch.ones(2, 3)], torch.ones(2), **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": [torch.ones(2, 3), [1.0]]}, r"inputs\[1\] is list"),
        ({"weights": [1.0, 2.0]}, "weights is list"),
        ({"keep": [True, False]}, "keep is list"),
        ({"statistics": (torch.ones(2, 3), [1.0])}, "rstd is list"),
        ({"statistics": (numpy.ones((2, 3)), torch.ones(2, 3))}, "mean is ndarray"),
    ],
)
def test_what_is_no_tensor_is_named(arguments: dict, message: str) -> None:
    good = {"inputs": [torch.ones(2, 3), torch.ones(2, 3)], "weights": torch.ones(2)}
    with pytest.raises(TypeError, match=f"^mixed_sum: {message}; it must be a torch.Tensor$"):
        ddarts.ops.mixed_sum(**{**good, **arguments})


def test_meta_tensors_give_meta_tensors() -> None:
    x = torch.ones(2, 3, 4, device="meta", requires_grad=True)
    out, mean, rstd = ddarts.ops.mixed_sum_with_statistics([x, x], torch.ones(2, device="meta"), norm=[1, 0])
    assert out.is_meta and out.shape == x.shape and mean.shape == rstd.shape == (2, 3)
    out.sum().backward()
    assert x.grad is not None and x.grad.is_meta


def test_normalisation_needs_channels() -> None:
    with pytest.raises(ValueError, match=r"inputs are \[3\]; normalisation needs \[N, C, ...\]"):
        ddarts.ops.mixed_sum([torch.ones(3)], torch.ones(1), norm=[1])


def test_compiled_kernel_checks_for_itself() -> None:
    """Called around the public operator, it refuses rather than reads past the end."""
    one, two = ([0], [0], None, None, None, False), ([0, 1], [0, 0], None, None, None, False)
    kernel = torch.ops.ddarts_cpp.mixed_sum.default
    with pytest.raises(RuntimeError, match=r"inputs\[1\] and inputs\[0\] differ in shape"):
        kernel([torch.ones(4), torch.ones(3)], torch.ones(2), *two, 1e-5)
    with pytest.raises(RuntimeError, match="weights is Double but the inputs are Float"):
        kernel([torch.ones(4)], torch.ones(1).double(), *one, 1e-5)
    with pytest.raises(RuntimeError, match=r"weights must be \[1\]"):
        kernel([torch.ones(4)], torch.ones(2), *one, 1e-5)
    with pytest.raises(RuntimeError, match=r"source\[0\] is 7"):
        kernel([torch.ones(4)], torch.ones(1), [7], [0], None, None, None, False, 1e-5)
    backward = torch.ops.ddarts_cpp.mixed_sum_backward.default
    with pytest.raises(RuntimeError, match=r"grad and inputs\[0\] differ in shape"):
        backward(torch.ones(3), [torch.ones(4)], torch.ones(1), *one, [0], True)
    with pytest.raises(RuntimeError, match=r"wanted\[0\] is 1"):
        backward(torch.ones(4), [torch.ones(4)], torch.ones(1), *one, [1], True)
