"""Writing files so that a crash at any moment leaves either the old content or the new, never half of it.

Every write, fsync and rename of a checkpoint or a marker goes through this file, by way of the functions of `os`,
so that a test can stop the program at each of them.
"""

import hashlib
import math
import os
import shutil
from pathlib import Path
from typing import Any

CHUNK = 1 << 20  # bytes handed to one os.write

TEMPORARY = ".tmp-"  # names that start so are leftovers of a save that did not finish


def write_synced(path: Path, data: bytes) -> str:
    """Write a new file, fsync it, and return the SHA-256 (hex) of its content. Raises OSError."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        view = memoryview(data)
        while view:
            written = os.write(descriptor, view[:CHUNK])
            digest.update(view[:written])
            view = view[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Make the names inside a folder durable. A file system that cannot fsync a folder is no error."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows cannot open a folder
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """A hidden name in the same folder (hence the same file system), unique to this process."""
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}-{os.urandom(4).hex()}")


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step, durably. Raises OSError and leaves no temporary file behind."""
    temporary = temporary_beside(path)
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a folder: out of sight first (one rename), then for good, so that half of it is never taken for whole."""
    if not path.name.startswith(TEMPORARY):
        hidden = temporary_beside(path)
        os.rename(path, hidden)
        path = hidden
    shutil.rmtree(path)


def plain(value: Any) -> Any:
    """`value` as valid JSON can hold it: arrays and tensors as nested lists, NaN and infinities as strings."""
    if hasattr(value, "tolist") and not isinstance(value, (str, bytes)):
        value = value.tolist()  # tensors, numpy arrays and numpy scalars
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
