"""Files that a command writes where the user says: never over another one, whole or not at all."""

from pathlib import Path

from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.files import atomic_write_bytes


def check_free(path: Path, overwrite: bool = False) -> None:
    """UsageError where `path` cannot become a new file; with `overwrite` an old file there is no reason."""
    if path.parent.exists() and not path.parent.is_dir():
        raise UsageError(f"--output {path}: {path.parent} is a file, not a folder; choose another name")
    if path.is_dir() or (path.exists() and not overwrite):
        what = "is a folder" if path.is_dir() else "is there already"
        raise UsageError(f"--output {path}: {what}; choose another name")


def write(path: Path, data: bytes) -> None:
    """Write `data` to `path`; its folder is created. DdartsError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(path, data)
    except OSError as error:
        raise DdartsError(f"{path}: cannot be written: {error.strerror or error}") from error
