"""alphas.npz: σ(α) of a search, and what makes a network of them.

`alphas` = σ(α) and `logits` = α, float [cells, edges, operations], one entry a distinct cell; `space`, the name of the
search space; `reductions`, positions of the reduction cells; and, where positions share cells, `sequence`: which cell
stands at every position. `alphas` alone is enough to be read.
"""

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddarts.genotype.schema import MAX_CELLS
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.files import atomic_write_bytes
from ddarts.space.primitives import SPACES

ARRAY = "alphas"
MAX_ARRAY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class AlphasFile:
    """σ(α) [cells, edges, operations], of any type, and what else the file says (None: nothing)."""

    alphas: NDArray[Any]
    space: str | None = None
    reductions: tuple[int, ...] | None = None
    sequence: tuple[int, ...] | None = None


def write_alphas(
    path: Path,
    alphas: NDArray[np.floating],
    logits: NDArray[np.floating],
    space: str,
    reductions: Sequence[int],
    sequence: Sequence[int] | None,
) -> None:
    """Write the file in one step. DdartsError where the disk refuses."""
    arrays: dict[str, Any] = {ARRAY: alphas, "logits": logits, "space": np.array(space)}
    arrays["reductions"] = np.array(reductions, dtype=np.int64)
    if sequence is not None:
        arrays["sequence"] = np.array(sequence, dtype=np.int64)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    try:
        atomic_write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise DdartsError(f"{path}: not written ({error.strerror or error})") from error


def read_alphas(path: Path) -> AlphasFile:
    """What an .npz file says. Nothing in the file is executed, and its size is bounded.

    UsageError where there is no such file; DdartsError where it holds no `alphas` or its other arrays make no sense.
    """
    arrays = _arrays(path)
    space = arrays.get("space")
    if space is not None and (space.shape != () or str(space) not in SPACES):
        raise DdartsError(f"{path}: space is none of {', '.join(SPACES)}")
    reductions, sequence = (_positions(arrays.get(name), name, path) for name in ("reductions", "sequence"))
    alphas = arrays[ARRAY]
    cells = len(alphas) if alphas.ndim else 0
    if sequence is not None and not (sequence and all(0 <= cell < cells for cell in sequence)):
        raise DdartsError(f"{path}: sequence must name cells from 0 to {cells - 1}, one for each position")
    return AlphasFile(alphas, None if space is None else str(space), reductions, sequence)


def _positions(array: NDArray[Any] | None, name: str, path: Path) -> tuple[int, ...] | None:
    if array is None:
        return None
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) > MAX_CELLS:
        raise DdartsError(f"{path}: {name} must be a list of at most {MAX_CELLS} whole numbers")
    return tuple(array.tolist())


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that mean something to us."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file: an .npz file with the array '{ARRAY}', or a run folder, is expected")
    name = ARRAY
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        if ARRAY not in sizes:
            held = ", ".join(sorted(sizes)[:8]) or "nothing"
            raise DdartsError(f"{path}: holds no array '{ARRAY}', but {held[:200]!r}")
        found = {}
        with np.load(path, allow_pickle=False) as arrays:
            for name in (ARRAY, *sorted({"space", "reductions", "sequence"} & sizes.keys())):
                if sizes[name] > MAX_ARRAY_BYTES:
                    raise DdartsError(f"{path}: {name} is larger than {MAX_ARRAY_BYTES // 2**20} MiB")
                found[name] = arrays[name]
        return found
    except zipfile.BadZipFile as error:
        raise DdartsError(f"{path}: is not an .npz file, or is damaged") from error
    except (OSError, ValueError, EOFError, MemoryError, zlib.error, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DdartsError(f"{path}: {name} cannot be read: {reason}") from error
