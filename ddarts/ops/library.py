"""Finding, checking and loading the compiled libraries: `ddarts/_C*.so` for the CPU and `ddarts/_C_cuda*.so`, which
would not load on a torch without CUDA.

They use torch's stable ABI, so one build serves every torch from the one it targets upwards. What must agree: torch is
not older than that, and the libraries, `_host` and (in a source checkout) csrc/ are of one build.
"""

import ctypes
import functools
import importlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ddarts.ops import schema
from ddarts.ops.build_record import source_hash
from ddarts.runtime.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
REBUILD = "rebuild with: pip install --no-build-isolation . (in a source checkout: python setup.py build_ext --inplace)"


@dataclass(frozen=True)
class Library:
    """What is known of a compiled library: `problem` is None when it is loaded and usable."""

    problem: str | None
    path: Path | None = None
    record: dict[str, str] = field(default_factory=dict)
    capability: str | None = None


def find(name: str = "_C", package: Path = PACKAGE) -> Path | None:
    """A library's file in the package folder, or None."""
    found = sorted([*package.glob(f"{name}.*so"), *package.glob(f"{name}.*pyd")])
    return found[0] if found else None


def read_record() -> tuple[dict[str, str], str] | None:
    """(build record, CPU capability) as the host module tells them, or None when it is not built.

    Raises UsageError when DDARTS_CPU_CAPABILITY asks for an instruction set that does not exist.
    """
    try:
        host = importlib.import_module("ddarts._host")
    except ImportError:
        return None
    try:
        capability = host.cpu_capability()
    except RuntimeError as error:  # names the variable, its value and what is allowed
        raise UsageError(str(error)) from None
    return dict(host.build_record()), capability


def _version(text: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def mismatch(record: dict[str, str], torch_version: str, csrc: Path) -> str | None:
    """Why a library with this record must not be used here, or None. `csrc` need not exist."""
    target = record.get("torch_target", "unknown")
    if target == "unknown" or _version(torch_version) < _version(target):
        built = record.get("torch", "unknown")
        return f"built with torch {built} for torch >= {target}, but this is torch {torch_version}; {REBUILD}"
    if csrc.is_dir():
        here, there = source_hash(csrc), record.get("source_hash", "unknown")
        if here != there:
            return f"built from other sources (hash {there}, csrc/ has {here}); {REBUILD}"
    return None


def _library_hash(path: Path) -> str:
    function = ctypes.CDLL(str(path)).ddarts_source_hash
    function.restype = ctypes.c_char_p
    return function().decode()


def inspect(name: str = "_C") -> Library:
    """Finds, checks and loads a library; what is wrong with it is in `problem`.

    Raises UsageError only for a wrong DDARTS_CPU_CAPABILITY: that is a wish of the user, not a fault of the library.
    """
    path = find(name)
    if path is None:
        return Library(_missing(name))
    told = read_record()
    if told is None:
        return Library(f"ddarts._host is not built for this Python; {REBUILD}", path)
    record, capability = told
    problem = mismatch(record, torch.__version__, PACKAGE.parent / "csrc")
    if problem is not None:
        return Library(problem, path, record, capability)
    schema.define_all()
    try:
        torch.ops.load_library(path)
        loaded = _library_hash(path)
    except (OSError, AttributeError) as error:
        return Library(f"{path.name} does not load ({str(error).splitlines()[0]}); {REBUILD}", path, record, capability)
    if loaded != record["source_hash"]:
        return Library(f"{path.name} and _host are of different builds; {REBUILD}", path, record, capability)
    return Library(None, path, record, capability)


def _missing(name: str) -> str:
    if name == "_C":
        return f"the compiled library is not built; {REBUILD}"
    told = read_record()
    fact = told[0].get("cuda", "") if told is not None else ""
    reason = fact.removeprefix("not built") if fact.startswith("not built") else ""
    return f"the CUDA library is not built{reason}; {REBUILD.replace('with:', 'with DDARTS_CUDA=1 and CUDA_HOME set:')}"


def inspect_cuda() -> Library:
    """inspect() of the CUDA library, whose problem is also a machine without a GPU that it was built for."""
    if torch.version.cuda is None:
        return Library(f"torch {torch.__version__} is built without CUDA", find("_C_cuda"))
    found = inspect("_C_cuda")
    return found if found.problem else replace(found, problem=_gpu_problem(found.record))


def _gpu_problem(record: dict[str, str]) -> str | None:
    if not torch.cuda.is_available():
        return "no GPU is usable"
    gpu, built = torch.cuda.get_device_capability(), record.get("cuda_arch_list", "")
    if any(_serves(architecture, gpu) for architecture in built.split()):
        return None
    number = ".".join(map(str, gpu))
    return (
        f"built for GPUs of architecture {built}, this one is {number}; {REBUILD}, with TORCH_CUDA_ARCH_LIST={number}"
    )


def _serves(architecture: str, gpu: tuple[int, int]) -> bool:
    """Whether code for e.g. 9.0 or 10.0+PTX runs on a GPU: machine code within a major version, PTX on any later."""
    built = _version(architecture)
    return built <= gpu and (built[0] == gpu[0] or architecture.endswith("+PTX"))


@functools.cache
def library() -> Library:
    """inspect(), once per process."""
    return inspect()


@functools.cache
def cuda_library() -> Library:
    """inspect_cuda(), once per process."""
    return inspect_cuda()
