"""The last file of a checkpoint: what belongs to it, how long each file is, and its SHA-256.

The manifest also carries its own hash and has only one valid spelling, so a flipped bit anywhere in it shows.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NAME = "manifest.json"
FORMAT = "ddarts-checkpoint-1"
MAX_BYTES = 1 << 16


class DamagedError(Exception):
    """A file that is missing or not as the manifest says; the message names it."""


def encode(step: int, hashes: Mapping[str, tuple[str, int]]) -> bytes:
    """The manifest of `{file name: (sha256, bytes)}`."""
    entries = {name: {"bytes": size, "sha256": digest} for name, (digest, size) in hashes.items()}
    return _spell({"format": FORMAT, "step": step, "files": entries})


def verified(folder: Path, names: Iterable[str]) -> tuple[int, dict[str, bytes]]:
    """Read the files `names` of a folder once and return `(step, {name: bytes})`. Raises DamagedError."""
    step, entries = _parse(folder)
    if sorted(entries) != sorted(names):
        raise DamagedError(f"{folder / NAME}: lists other files than a checkpoint has")
    return step, {name: _checked(folder / name, *entry) for name, entry in entries.items()}


def _spell(content: dict[str, Any]) -> bytes:
    body = json.dumps(content, sort_keys=True, indent=1).encode()
    return json.dumps({**content, "sha256": hashlib.sha256(body).hexdigest()}, sort_keys=True, indent=1).encode()


def _parse(folder: Path) -> tuple[int, dict[str, tuple[int, str]]]:
    path = folder / NAME
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DamagedError(f"{path}: missing (an unfinished save)") from None
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        content = json.loads(raw)
        content.pop("sha256")
        right = len(raw) <= MAX_BYTES and _spell(content) == raw and content["format"] == FORMAT
        step = int(content["step"])
        entries = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        right = False
    if not right:
        raise DamagedError(f"{path}: damaged (its own hash does not match)")
    return step, entries


def _checked(path: Path, expected: int, digest: str) -> bytes:
    try:
        size = path.stat().st_size
        if size != expected:
            raise DamagedError(f"{path}: {size} bytes, the manifest says {expected}")
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise DamagedError(f"{path}: SHA-256 differs from the manifest's")
    return data
