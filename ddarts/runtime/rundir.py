"""Run folders: `<out>/<kind>/<name>/` with config.yaml, logs, checkpoints/ and, once finished, DONE. [light]"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ddarts.runtime import files
from ddarts.runtime.errors import DdartsError, UsageError

CHECKPOINTS = "checkpoints"
DONE = "DONE"
REQUEUE = "REQUEUE"  # stopped on request after saving, and wants to be started again: return codes get lost
LOCK = ".lock"


def new_run_dir(out: str | os.PathLike[str], kind: str, name: str) -> Path:
    """Make `<out>/<kind>/<name>` and return it. Raises UsageError where it already holds a run."""
    if not name or name in (".", "..") or name != Path(name).name or "\0" in name:
        raise UsageError(f"--save {name!r}: must be one folder name (the folder above it is --out)")
    path = Path(out) / kind / name
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = any(path.iterdir())
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--out {out}: a file is in the way of the folder {path}") from None
    except OSError as error:
        raise UsageError(f"--out {out}: cannot make {path} ({error.strerror})") from None
    if taken:
        raise UsageError(f"{path}: already holds a run; choose another --save or continue it with --resume {path}")
    return path


@contextmanager
def claim(run_dir: Path) -> Iterator[None]:
    """Hold a run folder for this process. Raises UsageError where another one works in it, or it cannot be written."""
    path = run_dir / LOCK
    try:
        lock = open(path, "w")  # noqa: SIM115 (held for the run)
    except OSError as error:
        raise UsageError(f"{run_dir}: cannot be written ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{run_dir}: another process is running it") from None
        except OSError:
            pass  # a file system without locks: nothing can be told there
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def find_run(path: str | os.PathLike[str]) -> Path:
    """The run folder that `path` names: itself, its checkpoints folder, or one checkpoint in that.

    Raises UsageError where there is no run.
    """
    given = Path(path)
    if not given.exists():
        raise UsageError(f"--resume {path}: no such folder")
    resolved = given.resolve()
    if resolved.name == CHECKPOINTS:
        return resolved.parent
    if resolved.parent.name == CHECKPOINTS and resolved.is_dir():
        return resolved.parent.parent
    if not (resolved / CHECKPOINTS).is_dir() and not (resolved / "config.yaml").is_file():
        raise UsageError(f"--resume {path}: not a run folder (it has neither config.yaml nor {CHECKPOINTS}/)")
    return given


def find_checkpoint(path: str | os.PathLike[str]) -> str | Path:
    """What to hand to `CheckpointStore.load` for a `--resume` path: one checkpoint's folder, or "latest"."""
    resolved = Path(path).resolve()
    return resolved if resolved.parent.name == CHECKPOINTS and resolved.is_dir() else "latest"


def mark_end(run_dir: str | os.PathLike[str], name: str, summary: Mapping[str, Any]) -> None:
    """Write DONE, a run's proof of success, or REQUEUE (JSON). NaN and infinities become strings."""
    text = json.dumps(files.plain(dict(summary)), indent=2, allow_nan=False)
    atomic_write_text(Path(run_dir) / name, text + "\n")


def clear_ends(run_dir: str | os.PathLike[str]) -> None:
    """Remove DONE and REQUEUE: the run goes on."""
    for name in (DONE, REQUEUE):
        (Path(run_dir) / name).unlink(missing_ok=True)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file by `text` (UTF-8) in one step, durably. Raises DdartsError; the old file is then intact."""
    try:
        files.atomic_write_bytes(Path(path), text.encode())
    except OSError as error:
        raise DdartsError(f"{path}: not written ({error.strerror or error})") from error
