"""Data files whose content is pinned: FILE.sha256 beside a file, as `sha256sum FILE > FILE.sha256` writes it."""

import hashlib
from pathlib import Path

from ddarts.runtime.errors import DdartsError

_MOST = 4096  # characters of a pin that are read


def pin_of(path: Path) -> Path:
    """Where the hash of the data file `path` is pinned."""
    return path.with_name(path.name + ".sha256")


def check_pinned(path: Path) -> None:
    """DdartsError that names the file and both hashes where `path` is not what its pin says; nothing without a pin."""
    pin = pin_of(path)
    try:
        with open(pin, encoding="ascii", errors="replace") as file:
            words = file.read(_MOST).split()
    except FileNotFoundError:
        return
    except OSError as error:
        raise DdartsError(f"{pin}: cannot be read ({error.strerror})") from None
    expected = words[0].lower() if words else ""
    if len(expected) != 64 or set(expected) - set("0123456789abcdef"):
        raise DdartsError(f"{pin}: does not begin with a SHA-256; write it with sha256sum")
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DdartsError(f"{path}: cannot be read ({error.strerror})") from None
    if found != expected:
        raise DdartsError(f"{path}: SHA-256 is {found}, {pin.name} says {expected}; get the file again")
