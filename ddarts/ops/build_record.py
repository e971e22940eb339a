"""Which C++ sources a compiled library belongs to. [light: standard library only]

The build (setup_helpers.py) and the loader (ddarts/ops/library.py) share this file, so both compute the same hash.
"""

import hashlib
from pathlib import Path

_SUFFIXES = (".h", ".cpp", ".cu", ".cuh")


def source_files(csrc: Path) -> list[Path]:
    """Every C++ and CUDA file under `csrc`, in a fixed order."""
    return sorted(path for path in csrc.rglob("*") if path.suffix in _SUFFIXES)


def source_hash(csrc: Path) -> str:
    """First 16 hex digits of a SHA-256 over names and contents of the sources."""
    digest = hashlib.sha256()
    for path in source_files(csrc):
        digest.update(path.relative_to(csrc).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
