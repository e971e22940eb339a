"""The CUDA kernels, run on the CPU by fibers: against the reference, and with the threads in both orders.

Legend: U inputs, n terms.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cuda_on_cpu import emulated
from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.mixed_sum import reference
from ddarts_kernels.mixed_sum.reference import Norm
from ddarts_kernels.threshold import reference as threshold_reference
from op_cases import DTYPES, LAYOUTS, normal
from tolerances import FORWARD, GRADIENT, assert_as_accurate
from torch import Tensor

from ddarts import ops

KERNELS = torch.ops.ddarts_cuda
SEEDS = range(12)


@pytest.fixture(autouse=True)
def _poisoned():
    """Fills what torch allocates with NaN, so that an element nobody wrote is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def both_orders(function: Callable[[], Any]) -> Any:
    """What the kernels give, which must not depend on the order in which threads and blocks run."""
    with emulated():
        forwards = function()
    with emulated(backwards=True):
        backwards = function()
    for a, b in zip(tensors(forwards), tensors(backwards), strict=True):
        assert torch.equal(a, b)
    return forwards


def tensors(results: Any) -> list[Tensor]:
    return [x for result in results for x in (result if isinstance(result, list) else [result])]


def case(dtype: torch.dtype, seed: int) -> dict[str, Any]:
    """Arguments of mixed_sum: awkward shapes and layouts, mixed normalisations, inputs used twice or not at all."""
    draw = random.Random(seed)
    shape = draw.choice([(3, 17, 7, 5), (2, 16, 8, 9), (1, 36, 5, 8), (2, 8, 23, 19), (2, 1, 3, 5), (0, 3, 2, 2)])
    inputs, terms = draw.randint(1, 9), draw.randint(1, 12)
    names = draw.choice([["contiguous"], ["channels_last"], list(LAYOUTS)])
    fixed = draw.random() < 0.5
    norm = [draw.choice(list(Norm) if fixed else [Norm.NONE, Norm.BATCH]) for _ in range(inputs)]
    generator = torch.Generator().manual_seed(seed)
    wide = accumulation_dtype(dtype)
    keep = torch.rand(terms, generator=generator) < 0.6
    return {
        "inputs": [LAYOUTS[draw.choice(names)](shape, normal(dtype, 100 * seed + u)) for u in range(inputs)],
        "weights": torch.randn(terms, generator=generator, dtype=torch.float64).to(draw.choice([dtype, wide])),
        "source": [draw.randrange(inputs) for _ in range(terms)],
        "norm": norm,
        "mean": torch.randn(inputs, shape[1], generator=generator).to(wide) if Norm.FIXED in norm else None,
        "rstd": (torch.rand(inputs, shape[1], generator=generator) + 0.5).to(wide) if Norm.FIXED in norm else None,
        "keep": draw.choice([None, keep]),
        "logits": draw.random() < 0.5,
    }


def exact(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same in float64."""
    wide = {key: x.double() for key, x in arguments.items() if isinstance(x, Tensor) and x.is_floating_point()}
    return {**arguments, **wide, "inputs": [x.double() for x in arguments["inputs"]]}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_agrees_with_the_reference(dtype: torch.dtype, seed: int) -> None:
    arguments = case(dtype, seed)
    found = both_orders(lambda: KERNELS.mixed_sum(*arguments.values(), 1e-5))
    eager, right = (reference.forward(*a.values(), 1e-5) for a in (arguments, exact(arguments)))
    for name, x, e, r in zip(("sum", "mean", "rstd"), found, eager, right, strict=True):
        assert x.dtype == e.dtype and x.stride() == e.stride()
        assert_as_accurate(x, e, r, FORWARD, name)

    if arguments["mean"] is None and found[1].dim() == 2:
        arguments.update(mean=found[1], rstd=found[2])
    grad = LAYOUTS["channels_last"](arguments["inputs"][0].shape, normal(dtype, seed + 7))
    wanted, need_weights = [u for u in range(len(arguments["inputs"])) if (u + seed) % 3], seed % 4 > 0
    found = both_orders(lambda: KERNELS.mixed_sum_backward(grad, *arguments.values(), wanted, need_weights))
    eager = reference.backward(grad, *arguments.values(), wanted, need_weights)
    right = reference.backward(grad.double(), *exact(arguments).values(), wanted, need_weights)
    for x, e, r in zip(tensors(found), tensors(eager), tensors(right), strict=True):
        assert x.dtype == e.dtype and x.stride() == e.stride()
        assert_as_accurate(x, e, r, GRADIENT, "gradient")


def test_an_input_that_is_left_out_is_not_read() -> None:
    x, hole = torch.randn(2, 16, 4, 4), torch.full((2, 16, 4, 4), float("nan"))
    keep, norm = torch.tensor([True, False, True]), [Norm.BATCH, Norm.BATCH, Norm.NONE]
    arguments = ([x, hole, x], torch.ones(3), [0, 1, 2], norm)
    with emulated():
        out, mean, rstd = KERNELS.mixed_sum(*arguments, None, None, keep, False, 1e-5)
        grads, slope = KERNELS.mixed_sum_backward(x, *arguments, mean, rstd, keep, False, [0, 1, 2], True)
    assert all(found.isfinite().all() for found in (out, mean, rstd, slope, *grads))
    assert not mean[1:].any() and (rstd[1:] == 1).all() and not grads[1].any() and slope[1] == 0


def test_mean_far_above_the_spread() -> None:
    x = 1e4 + torch.randn(4, 8, 16, 16, dtype=torch.float64)
    with emulated():
        _, mean, rstd = KERNELS.mixed_sum([x.float()], torch.ones(1), [0], [Norm.BATCH], *[None] * 3, False, 1e-5)
    _, mean64, rstd64 = reference.forward(
        [x.float().double()], torch.ones(1).double(), [0], [Norm.BATCH], *[None] * 3, False, 1e-5
    )
    assert torch.equal(mean, mean64.float())
    assert (rstd / rstd64 - 1).abs().max() < 1e-6


@pytest.mark.parametrize("method", range(4))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_threshold_with_ties_nan_and_strides(dtype: torch.dtype, method: int) -> None:
    generator = np.random.default_rng(method)
    for steps, operations, cells in ((6, 12, 13), (1, 1, 2), (4, 2, 1), (2, 3, 0)):
        edges = steps * (steps + 3) // 2
        values = generator.integers(0, 5, (operations, edges, cells)) / 4
        values[generator.random(values.shape) < 0.05] = float("nan")
        alphas = torch.from_numpy(values).to(dtype).transpose(0, 2)
        for value in (0.25, 0.5, 1.0):
            found = both_orders(lambda a=alphas, s=steps, v=value: KERNELS.threshold(a, s, method, v, False))
            for x, right in zip(found, threshold_reference.threshold(alphas, steps, method, value, False), strict=True):
                assert torch.equal(x, right) and x.dtype == right.dtype and x.is_contiguous()


def test_limits_and_misfits_are_named() -> None:
    x = torch.ones(2, 3)
    options = (None, None, None, False, 1e-5)
    with emulated():
        with pytest.raises(RuntimeError, match=r"inputs has 129 tensors; .* at most 128 \(use triton or reference\)"):
            ops.mixed_sum([x] * 129, torch.ones(129))
        with pytest.raises(RuntimeError, match=r"weights has 1025 terms; .* at most 1024 \(use triton or reference\)"):
            ops.mixed_sum([x], torch.ones(1025), source=[0] * 1025)
        with pytest.raises(RuntimeError, match=r"steps is 129; .* 1 to 128 \(use triton or reference\)"):
            ops.threshold(torch.ones(1, 129 * 66, 1), 129)
        with pytest.raises(RuntimeError, match="a tensor of inputs and .* differ in shape"):
            KERNELS.mixed_sum([x, torch.ones(3)], torch.ones(2), [0, 1], [0, 0], *options)
        with pytest.raises(RuntimeError, match="source has 2, there are 2 inputs"):
            KERNELS.mixed_sum([x, x], torch.ones(2), [0, 2], [0, 0], *options)
        with pytest.raises(RuntimeError, match=r"mean must be Float \[1, 3\]"):
            KERNELS.mixed_sum([x], torch.ones(1), [0], [2], torch.ones(3), torch.ones(3), None, False, 1e-5)
