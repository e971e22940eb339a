"""Checkpoints that survive kill -9, a full disk and flipped bits.

A checkpoint is a folder (`step_0000000120`, or a tag such as `best`) with `tensors.safetensors`, `state.json` and
`manifest.json`. It is written under a temporary name, every file is synced, the manifest with the SHA-256 of the
others comes last, then one rename makes it visible. Loading reads the bytes once, checks them against the manifest
and only then looks inside. Nothing is ever unpickled.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from ddarts.runtime import files, manifest, state_tree
from ddarts.runtime.errors import DdartsError

_log = logging.getLogger(__name__)

MAX_STATE_BYTES = 64 << 20  # of state.json; the bulk of a state is tensors, which lie in the other file

_STEP = re.compile(r"step_(\d{10,})")
_TAG = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PREVIOUS = ".previous"  # where the old folder of the same name waits while its successor takes its place


class CheckpointStore:
    """The checkpoints of one run. One process writes; any number may read.

    `folder` is made at the first save. The newest `keep` numbered checkpoints stay; tagged ones stay until replaced.
    A numbered save is the newest of its run: numbered checkpoints of later steps, left by a run that was continued
    from before them, are removed with it.
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep: {keep} is below 1")
        self.folder = Path(folder)
        self.keep = keep

    def save(self, step: int, state: Mapping[Any, Any], tag: str | None = None) -> Path:
        """Save `state` (see `state_tree.pack` for what it may hold) as the checkpoint of `step`, or as folder `tag`.

        Returns the folder. Raises DdartsError for an entry that cannot be saved and when the disk refuses;
        the checkpoints from before are then as they were.
        """
        if step < 0 or (tag is not None and (not _TAG.fullmatch(tag) or tag == "latest")):
            raise ValueError(f"not a step or tag to save under: {step}, {tag}")
        target = self.folder / (tag or f"step_{step:010d}")
        contents = _encode(state)
        try:
            self._clean()
            self._write(target, step, contents)
        except OSError as error:
            reason = error.strerror or str(error)
            raise DdartsError(f"{target}: checkpoint not saved ({reason}); the one before is intact") from error
        if tag is None:
            self._prune(step)
        return target

    def load(self, which: str | int | os.PathLike[str] = "latest") -> tuple[dict[Any, Any], int]:
        """Return `(state, step)` of a checkpoint: "latest", a tag such as "best", a step, or a checkpoint's folder.

        Tensors come back on the CPU. "latest" is the newest numbered one; where it is damaged, a warning says which
        file and why, and the one before is taken. Raises DdartsError where none is valid.
        """
        candidates = self._candidates(which)
        damage: list[str] = []
        for i, path in enumerate(candidates):
            try:
                state, step = _read(path)
            except manifest.DamagedError as error:
                damage.append(str(error))
                continue
            if damage:
                _log.warning("damaged checkpoint: %s; continuing from %s instead", "; ".join(damage), candidates[i])
            return state, step
        if damage:
            raise DdartsError(f"no usable checkpoint: {'; '.join(damage)}")
        raise DdartsError(f"{self.folder}: no checkpoint {which!r} there" + _have(self.steps()))

    def steps(self) -> list[int]:
        """The steps of the numbered checkpoints that look complete (not verified), ascending."""
        found = {_step_of(path) for path in self._folders() if (path / manifest.NAME).is_file()}
        return sorted(step for step in found if step is not None)

    def _candidates(self, which: str | int | os.PathLike[str]) -> list[Path]:
        """Folders to try, in order. A folder's `.previous` counts: it is all there is between two renames."""
        if which == "latest":
            numbered = [path for path in self._folders() if _step_of(path) is not None]
            return sorted(numbered, key=lambda path: (-(_step_of(path) or 0), path.name))
        if isinstance(which, int):
            path = self.folder / f"step_{which:010d}"
        elif isinstance(which, str) and _TAG.fullmatch(which):
            path = self.folder / which
        else:
            path = Path(which)
        return [found for found in (path, path.with_name(path.name + _PREVIOUS)) if found.is_dir()]

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(files.TEMPORARY)]

    def _clean(self) -> None:
        """Remove what interrupted saves left, and give a folder that was being replaced its name back."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in list(self.folder.iterdir()):
            if path.name.startswith(files.TEMPORARY) and path.is_dir():
                _discard(path)
            elif path.name.endswith(_PREVIOUS) and path.is_dir():
                successor = path.with_name(path.name.removesuffix(_PREVIOUS))
                if successor.exists():
                    _discard(path)
                else:
                    os.rename(path, successor)

    def _write(self, target: Path, step: int, contents: dict[str, bytes]) -> None:
        temporary = files.temporary_beside(target)
        previous = target.with_name(target.name + _PREVIOUS)
        try:
            os.mkdir(temporary)
            hashes = {name: (files.write_synced(temporary / name, data), len(data)) for name, data in contents.items()}
            files.sync_folder(temporary)
            files.write_synced(temporary / manifest.NAME, manifest.encode(step, hashes))
            files.sync_folder(temporary)
            if target.exists():
                os.rename(target, previous)
            os.rename(temporary, target)
            files.sync_folder(self.folder)
        except BaseException:
            if previous.exists() and not target.exists():
                os.rename(previous, target)
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if previous.exists():
            _discard(previous)

    def _prune(self, newest: int) -> None:
        kept = sorted((step for step in self.steps() if step <= newest), reverse=True)[: self.keep]
        for path in self._folders():
            if _step_of(path) is not None and _step_of(path) not in kept:
                _discard(path)


def _discard(path: Path) -> None:
    """Remove a folder nobody needs. One too many is no reason to stop a run."""
    try:
        files.remove_tree(path)
    except OSError as error:
        _log.warning("%s: not removed (%s)", path, error.strerror)


def _step_of(path: Path) -> int | None:
    match = _STEP.fullmatch(path.name.removesuffix(_PREVIOUS))
    return int(match[1]) if match else None


def _have(steps: list[int]) -> str:
    return f" (steps there: {', '.join(map(str, steps))})" if steps else ""


def _encode(state: Mapping[Any, Any]) -> dict[str, bytes]:
    tree, tensors = state_tree.pack(state)
    text = json.dumps(tree, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MAX_STATE_BYTES:
        raise DdartsError(f"the checkpoint's numbers and texts take {len(text)} bytes; {MAX_STATE_BYTES} are allowed")
    return {"tensors.safetensors": safetensors.torch.save(tensors), "state.json": text}


def _read(path: Path) -> tuple[dict[Any, Any], int]:
    """Read, verify and decode one checkpoint folder. Raises DamagedError naming the file at fault."""
    step, contents = manifest.verified(path, ("tensors.safetensors", "state.json"))
    try:
        if len(contents["state.json"]) > MAX_STATE_BYTES:
            raise ValueError("too large")
        tree = json.loads(contents["state.json"])
        return state_tree.unpack(tree, safetensors.torch.load(contents["tensors.safetensors"])), step
    except (ValueError, TypeError, KeyError, OverflowError, RuntimeError, SafetensorError) as error:
        # The hashes are right, so this was never one of ours: too deep, too large, or made up.
        raise manifest.DamagedError(f"{path}: not a checkpoint of this program ({error})") from None
