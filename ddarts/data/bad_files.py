"""The list of unreadable files that `ddarts data check` writes, and leaving them out where a run asks for it."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.rundir import atomic_write_text

BAD_FILES = "bad_files.json"
IN_DATA = "auto"  # --skip_bad_files without a value
_MAX_BYTES = 256 << 20
_log = logging.getLogger(__name__)


def write(path: Path, bad: Iterable[Mapping[str, str]]) -> None:
    """Write the list in one step; each entry has `path` (below the data set's folder), `problem` and `sha256` (empty
    where the bytes cannot be read)."""
    atomic_write_text(path, json.dumps({"bad_files": list(bad)}, indent=1) + "\n")


def check_writable(path: Path) -> None:
    """UsageError where no list can be written: told before hours of reading."""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "is a folder" if path.is_dir() else f"{folder} is not a folder that may be written to"
        raise UsageError(f"--output {path}: {why}; name another file for the list of bad files")


def left_out(paths: Sequence[str], root: Path, given: str | Path, what: str) -> set[str]:
    """Which of `paths` the list says are bad, counted in the log.

    Raises:
        UsageError: no list where `given` says.
        DdartsError: it is no such list, or one of its files has changed since.
    """
    listed = Path(given).expanduser() if given != IN_DATA else root / BAD_FILES
    hashes = {str(root / entry["path"]): entry["sha256"] for entry in _read(listed)}
    found = {path for path in paths if path in hashes}
    for path in sorted(found):
        if _sha256(path) != hashes[path]:
            raise DdartsError(f"{path}: has changed since {listed} was written; run ddarts data check again")
    _log.warning("%d of the %d %s are left out: bad, says %s", len(found), len(paths), what, listed)
    return found


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        hint = "; ddarts data check writes it"
        raise UsageError(f"--skip_bad_files: {path} cannot be read ({error.strerror}){hint}") from None
    try:
        entries = json.loads(content)["bad_files"]
        sound = len(content) <= _MAX_BYTES and all(
            isinstance(e[key], str) for e in entries for key in ("path", "sha256")
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise DdartsError(f"{path}: is not a list that ddarts data check wrote")
    return entries
