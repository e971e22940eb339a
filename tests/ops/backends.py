"""Running a backend where it belongs: the plain and the compiled one on the CPU, Triton and CUDA on a GPU.

Without a GPU, Triton's kernels run in its interpreter (tests/conftest.py) and the CUDA sources are compiled for the CPU
(tests/ops/cuda_on_cpu), so that every backend is tested on every machine.
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

import ddarts.ops
from tests.ops.op_cases import gradients

GPU = torch.cuda.is_available()
BACKENDS = tuple(
    name for name in ("reference", "cpp", "triton", "cuda") if name != "triton" or importlib.util.find_spec("triton")
)
WITHOUT_CUDA = tuple(name for name in BACKENDS if name != "cuda")  # for operators that have no CUDA kernels


@contextmanager
def run_on(backend: str) -> Iterator[str]:
    """Uses a backend inside the block; gives the type of device that its tensors must be on."""
    with ExitStack() as stack:
        if backend == "cuda" and not GPU:
            from tests.ops.cuda_on_cpu import emulated

            stack.enter_context(emulated())
        stack.enter_context(ddarts.ops.use_backend(backend))
        yield "cuda" if GPU and backend in ("triton", "cuda") else "cpu"


def gradients_on(
    backend: str, inputs: Sequence[Tensor], weights: Tensor, grad: Tensor
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Output and gradients of the plain weighted sum, computed by a backend on its device."""
    with run_on(backend) as device:
        moved = [x.to(device) for x in inputs]
        out, grad_inputs, grad_weights = gradients(ddarts.ops.mixed_sum, moved, weights.to(device), grad.to(device))
    return out.cpu(), [g.cpu() for g in grad_inputs], grad_weights.cpu()


def call_on(backend: str, op: Callable[..., Any], *arguments: Any) -> Any:
    """op(*arguments) by a backend on its device, from tensors on the CPU, lists of them and plain values; the result
    is on the CPU again."""
    with run_on(backend) as device:
        return moved(op(*moved(arguments, device)), "cpu")


def moved(x: Any, device: str) -> Any:
    """Tensors in nested lists and tuples on another device, with their strides."""
    if isinstance(x, Tensor):
        return x.to(device)
    return type(x)(moved(v, device) for v in x) if isinstance(x, list | tuple) else x
