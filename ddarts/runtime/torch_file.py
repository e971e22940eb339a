"""Weights in PyTorch's own files (`.pth.tar`, `.pt`): foreign, so only tensors and plain containers are read."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.weights import load_weights

# A numpy number beside the weights (the best accuracy so far, say) is harmless.
_NUMBERS: list[Any] = [
    (np.dtype(np.float64).type(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.dtype(np.float64).type(0).__reduce__()[0],
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)),
]
_LFS = b"version https://git-lfs"
# Left beside the weights by a profiler that counted the network before training.
_COUNTERS = ("total_ops", "total_params")


def read_torch_weights(path: str | os.PathLike[str], option: str = "--model_path") -> dict[str, Tensor]:
    """The weights in a PyTorch file, without counters and the `module.` that several GPUs put before every name.

    The file is a dictionary whose `state_dict` holds the weights, or the weights themselves. Nothing in it is run.
    UsageError, naming `option`, where there is no such file; DdartsError where it is a Git LFS pointer, damaged, or
    holds anything else.
    """
    path = Path(path)
    content = _load(path, option)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise DdartsError(f"{path}: holds no weights: a state_dict with names and tensors is expected")
    weights = {name.removeprefix("module."): value for name, value in state.items()}
    weights = {name: value for name, value in weights.items() if name.rpartition(".")[2] not in _COUNTERS}
    odd = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if odd or not weights:
        raise DdartsError(f"{path}: holds no weights: " + (f"{odd[0]} is not a tensor" if odd else "it is empty"))
    return weights


def read_weights(path: str | os.PathLike[str], option: str) -> dict[str, Tensor]:
    """Weights from safetensors (by the name's ending) or from a PyTorch file."""
    if Path(path).suffix.lower() == ".safetensors":
        return load_weights(path)[0]
    return read_torch_weights(path, option)


def _load(path: Path, option: str) -> Any:
    try:
        with open(path, "rb") as file:
            head = file.read(len(_LFS))
        if head.startswith(_LFS):
            raise DdartsError(f"{path}: a Git LFS pointer, not the weights; run `git lfs pull` where it came from")
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{option} {path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be read ({error.strerror or error})") from None
    except pickle.UnpicklingError:
        raise DdartsError(f"{path}: damaged, or holds more than weights; nothing in it was run") from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DdartsError(f"{path}: not a file of weights, or damaged ({first[:120]})") from None
