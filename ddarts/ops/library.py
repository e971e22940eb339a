"""Finding, checking and loading the compiled library `ddarts/_C*.so`.

The library uses torch's stable ABI, so one build serves every torch from the one it targets upwards. What must agree:
torch is not older than that, and `_C`, `_host` and (in a source checkout) csrc/ are of one build.
"""

import ctypes
import functools
import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ddarts.ops import schema
from ddarts.ops.build_record import source_hash
from ddarts.runtime.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent
REBUILD = "rebuild with: pip install --no-build-isolation . (in a source checkout: python setup.py build_ext --inplace)"


@dataclass(frozen=True)
class Library:
    """What is known of the compiled library: `problem` is None when it is loaded and usable."""

    problem: str | None
    path: Path | None = None
    record: dict[str, str] = field(default_factory=dict)
    capability: str | None = None


def find(package: Path = PACKAGE) -> Path | None:
    """The library's file in the package folder, or None."""
    found = sorted([*package.glob("_C.*so"), *package.glob("_C.*pyd")])
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


def inspect() -> Library:
    """Finds, checks and loads the library; what is wrong with it is in `problem`.

    Raises UsageError only for a wrong DDARTS_CPU_CAPABILITY: that is a wish of the user, not a fault of the library.
    """
    path = find()
    if path is None:
        return Library(f"the compiled library is not built; {REBUILD}")
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


@functools.cache
def library() -> Library:
    """inspect(), once per process."""
    return inspect()
