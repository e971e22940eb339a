"""The CUDA kernels on a CPU: the same csrc/cuda/*.cu, compiled by g++ and run on fibers (include/cuda_runtime.h).

It proves indices, sums, barriers and, run in both orders, most of the absence of races; not speed, nor that nvcc takes
the sources (tests/packaging and the benchmarks compile them for GPUs).
"""

import ctypes
import fcntl
import functools
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch.utils.cpp_extension import include_paths, library_paths

import ddarts.ops
import setup_helpers
from ddarts.ops import dispatch

HERE = Path(__file__).resolve().parent
OPS = ("mixed_sum", "mixed_sum_backward", "threshold")


def build() -> Path:
    """Compiles the library if there is none of these sources yet; its path. Processes that come together wait."""
    own = sorted(path for path in HERE.rglob("*") if path.suffix in (".h", ".cpp"))
    shared = [setup_helpers.ROOT / name for name in setup_helpers.dependencies() if "/cpu/" not in name]
    digest = hashlib.sha256(torch.__version__.encode() + b"".join(path.read_bytes() for path in [*own, *shared]))
    folder = setup_helpers.ROOT / "build" / "cuda_on_cpu"
    library = folder / f"cuda_on_cpu_{digest.hexdigest()[:16]}.so"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            _compile([path for path in own if path.suffix == ".cpp"], library)
    return library


def _compile(own: list[Path], library: Path) -> None:
    unfinished = library.with_suffix(".part")
    kernels = [setup_helpers.ROOT / name for name in setup_helpers.cuda_sources()]
    command = [
        *(os.environ.get("CXX", "g++"), "-shared", "-fPIC", "-O1", f"-std=c++{setup_helpers.CXX_STANDARD}"),
        *("-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wl,-Bsymbolic"),
        *("-DUSE_CUDA", *(f"-D{define}" for define in setup_helpers.STABLE_DEFINES)),
        *(f"-I{HERE / 'include'}", f"-I{setup_helpers.CSRC}"),
        *(f"-isystem{path}" for path in include_paths()),
        *("-x", "c++", *map(str, own), *map(str, kernels)),
        *(f"-L{path}" for path in library_paths()),
        *("-lc10", "-ltorch", "-ltorch_cpu", "-o", str(unfinished)),
    ]
    child = subprocess.run(command, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-6000:]
    unfinished.rename(library)


@functools.cache
def load() -> ctypes.CDLL:
    """The library, with its operators bound to CPU tensors."""
    path = build()
    ddarts.ops.table()  # declares the operators
    torch.ops.load_library(path)
    return ctypes.CDLL(str(path))


@contextmanager
def emulated(*, backwards: bool = False) -> Iterator[None]:
    """Within the block, backend `cuda` is chosen and runs on CPU tensors; `backwards`: threads from last to first."""
    library, real = load(), dispatch.problem
    kernels = {op: dispatch.Implementation(getattr(torch.ops.ddarts_cuda, op).default, ("cpu",)) for op in OPS}
    with ExitStack() as stack:
        for op, kernel in kernels.items():
            stack.enter_context(mock.patch.dict(dispatch._implementations[op], {"cuda": kernel}))
        usable = mock.patch.object(dispatch, "problem", lambda name: None if name == "cuda" else real(name))
        stack.enter_context(usable)
        library.cuda_on_cpu_reverse(backwards)
        stack.callback(library.cuda_on_cpu_reverse, False)
        stack.enter_context(ddarts.ops.use_backend("cuda"))
        yield
