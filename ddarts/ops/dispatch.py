"""Which implementation of an operator runs: `reference`, `cpp`, `cuda` or `triton`.

The choice is made inside the opaque operator, each time it runs, so a compiled graph follows it too. `auto` takes the
fastest available and says so once; an explicit choice that is not available is an error with the remedy.
"""

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ddarts.ops.library import cuda_library, library
from ddarts.runtime.errors import UsageError

BACKENDS = ("auto", "reference", "cpp", "cuda", "triton")
FASTEST_FIRST = ("cuda", "triton", "cpp", "reference")
VARIABLE = "DDARTS_BACKEND"

logger = logging.getLogger("ddarts.ops")


class Row(NamedTuple):
    """One line of the table of `ddarts info`."""

    op: str
    backend: str
    available: bool
    note: str


@dataclass(frozen=True)
class Implementation:
    """A function with the operator's signature, the device types it takes, and whether `auto` may give it these
    arguments (None: any)."""

    function: Callable[..., Any]
    devices: tuple[str, ...] | None = None
    takes: Callable[..., bool] | None = None


_implementations: dict[str, dict[str, Implementation]] = {}
_chosen: str | None = None  # None: what DDARTS_BACKEND says, else auto
_announced: set[tuple[str, str]] = set()


def register(
    op: str,
    backend: str,
    function: Callable[..., Any],
    devices: tuple[str, ...] | None = None,
    takes: Callable[..., bool] | None = None,
) -> None:
    """Adds an implementation of `op`."""
    _implementations.setdefault(op, {})[backend] = Implementation(function, devices, takes)


def register_all(
    op: str, home: str, function: str, *, cuda: bool = True, cuda_takes: Callable[..., bool] | None = None
) -> None:
    """Adds every implementation of `op`: `function` of ddarts_kernels.<home>.reference and of .triton_impl (imported
    when it first runs), and the operators of the same name in the compiled libraries. cuda: there are CUDA kernels;
    cuda_takes: whether these arguments are within the limits of the CUDA kernels."""
    register(op, "reference", getattr(importlib.import_module(f"ddarts_kernels.{home}.reference"), function))
    register(op, "cpp", getattr(torch.ops.ddarts_cpp, op).default, ("cpu",))
    register(op, "triton", _late(f"ddarts_kernels.{home}.triton_impl", function), ("cpu", "cuda"))
    if cuda:
        register(op, "cuda", getattr(torch.ops.ddarts_cuda, op).default, ("cuda",), cuda_takes)


def _late(module: str, function: str) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        return getattr(importlib.import_module(module), function)(*arguments)

    return run


def interpreted() -> bool:
    """Whether Triton runs its kernels in its interpreter, on CPU tensors (TRITON_INTERPRET=1, read when it starts)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def problem(backend: str) -> str | None:
    """Why a backend cannot be used in this process, or None."""
    if backend == "cpp":
        return library().problem
    if backend == "cuda":
        return cuda_library().problem
    return _triton_problem() if backend == "triton" else None


def _triton_problem() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install 'ddarts[triton]'"
    if torch.cuda.is_available() or interpreted():
        return None
    return "no GPU is usable (TRITON_INTERPRET=1 runs its kernels on the CPU, slowly, for tests)"


def _check(backend: str, source: str) -> str:
    if backend not in BACKENDS:
        raise UsageError(f"{source} {backend}: unknown: allowed are {', '.join(BACKENDS)}")
    reason = problem(backend)
    if reason is not None:
        usable = [name for name in BACKENDS if problem(name) is None]
        raise UsageError(f"{source} {backend}: not available, {reason}; or use {', '.join(usable)}")
    return backend


def _check_environment() -> str:
    backend = os.environ.get(VARIABLE) or "auto"
    if backend != "auto":
        return _check(backend, VARIABLE)
    library()  # a wrong DDARTS_CPU_CAPABILITY is said here, before any work
    return backend


def use_backend(backend: str) -> AbstractContextManager[None]:
    """Chooses the backend of every operator from now on; as a context manager, until the block ends.

    `auto` is no choice: what DDARTS_BACKEND names applies, and without it the fastest available.
    Raises UsageError when the backend (with `auto`: the one in DDARTS_BACKEND) is unknown or not available here.
    """
    global _chosen
    if backend == "auto":
        _check_environment()
    previous, _chosen = _chosen, None if backend == "auto" else _check(backend, "--backend")

    @contextmanager
    def restore() -> Iterator[None]:
        global _chosen
        try:
            yield
        finally:
            _chosen = previous

    return restore()


def backend_choice() -> str:
    """The backend asked for: use_backend, else DDARTS_BACKEND, else 'auto'."""
    if _chosen is not None:
        return _chosen
    return _check_environment()


def pick(op: str, device: str, *arguments: Any) -> Callable[..., Any]:
    """The function that runs `op` on tensors of a device type, with `arguments`."""
    choice = backend_choice()
    known = _implementations[op]
    if choice != "auto":
        if choice not in known:
            raise UsageError(f"backend '{choice}' has no {op} in this version: use auto or reference")
        devices = known[choice].devices
        if devices is not None and device not in devices:
            raise UsageError(f"backend '{choice}' does not run {op} on {device} tensors: use auto or reference")
        return known[choice].function
    for backend in FASTEST_FIRST:
        found = known.get(backend)
        if found is None or (found.devices is not None and device not in found.devices):
            continue
        if (backend == "triton" and device == "cpu") or problem(backend):  # Triton's interpreter is for tests
            continue
        if found.takes is not None and not found.takes(*arguments):
            continue
        _announce(backend, device)
        return found.function
    raise AssertionError(f"{op} has no reference")  # every operator registers one


def _announce(backend: str, device: str) -> None:
    if (backend, device) in _announced:
        return
    _announced.add((backend, device))
    reason = problem("cpp")
    if backend == "reference" and device == "cpu" and reason is not None:
        logger.warning("operators run on the slower reference backend: %s", reason)
    else:
        logger.info("operators on %s use the %s backend", device, backend)


def table() -> list[Row]:
    """Every operator with every backend, and why one is missing."""
    notes = {
        "reference": "plain torch",
        "cpp": f"CPU, {library().capability}",
        "cuda": "GPU",
        "triton": "in its interpreter, on the CPU" if interpreted() else "GPU",
    }
    rows = []
    for op in _implementations:
        for backend in BACKENDS[1:]:
            reason = problem(backend) if backend in _implementations[op] else "not in this version"
            rows.append(Row(op, backend, reason is None, notes[backend] if reason is None else reason))
    return rows
