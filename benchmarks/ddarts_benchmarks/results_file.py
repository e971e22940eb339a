"""Writing results: whole or not at all, as JSON."""

import json
from pathlib import Path
from typing import Any

from ddarts.runtime.errors import DdartsError
from ddarts.runtime.files import atomic_write_bytes, plain

SCHEMA = 1


def write(path: Path, result: dict[str, Any]) -> Path:
    """Replace the file `path` by `result`. DdartsError where that fails; the old file is then intact."""
    try:
        atomic_write_bytes(path, (json.dumps(plain(result), indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise DdartsError(f"{path}: cannot be written ({error.strerror})") from None
    return path
