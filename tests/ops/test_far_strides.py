"""Tensors whose elements lie more than 2³¹ elements apart: index arithmetic needs 64 bits.

Their storage is a file without content that is mapped into memory, so nothing of its 8.6 GB is ever allocated.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ddarts.ops

FAR = 2**31 + 5
BACKENDS = pytest.mark.parametrize("backend", ["reference", "cpp"])
SHAPE = (2, 3, 4, 5)


@pytest.fixture
def far(tmp_path: Path) -> Callable[[Sequence[int], int], Tensor]:
    """Random tensors of a shape, with FAR elements from one slice of the first dimension to the next."""
    path = tmp_path / "hole"
    with open(path, "wb") as file:
        file.truncate(4 * (FAR + 4096))
    storage = torch.from_file(str(path), shared=True, size=FAR + 4096, dtype=torch.float32)

    def make(shape: Sequence[int], slot: int) -> Tensor:
        inner = torch.empty(shape[1:]).stride()
        made = storage.as_strided(shape, (FAR, *inner), 1024 * slot)
        made.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(slot)))
        return made

    return make


@BACKENDS
def test_mixed_sum(backend: str, far: Callable[[Sequence[int], int], Tensor]) -> None:
    inputs = [far(SHAPE, slot).requires_grad_() for slot in range(3)]
    near = [x.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for x in inputs]
    weights = torch.tensor([0.5, -2.0, 1.5])
    assert inputs[0].stride(0) == FAR and near[0].is_contiguous()
    with ddarts.ops.use_backend(backend):
        found, expected = ddarts.ops.mixed_sum(inputs, weights), ddarts.ops.mixed_sum(near, weights)
        grad = far(SHAPE, 3)
        gradients = torch.autograd.grad(found, inputs, grad)
    assert torch.equal(found, expected)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, near, grad.clone()), strict=True):
        assert torch.equal(gradient, wanted)


@BACKENDS
def test_threshold(backend: str, far: Callable[[Sequence[int], int], Tensor]) -> None:
    alphas = far((2, 14, 7), 0)
    with ddarts.ops.use_backend(backend):
        for found, expected in zip(
            ddarts.ops.threshold(alphas, 4), ddarts.ops.threshold(alphas.clone().contiguous(), 4), strict=True
        ):
            assert torch.equal(found, expected)


@BACKENDS
def test_pools(backend: str, far: Callable[[Sequence[int], int], Tensor]) -> None:
    x = far(SHAPE, 0)
    with ddarts.ops.use_backend(backend):
        for found, expected in zip(
            torch.ops.ddarts.pools(x, 1, 1e-5, 1),
            torch.ops.ddarts.pools(x.clone().contiguous(), 1, 1e-5, 1),
            strict=True,
        ):
            assert torch.equal(found, expected)
