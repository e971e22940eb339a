"""Files of trained weights: safetensors with text metadata (a genotype, say) and a hash of the whole content."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ddarts.runtime import files
from ddarts.runtime.errors import DdartsError, UsageError

# Metadata keys added on saving, checked and taken out on loading. Two, so that damage to one key cannot make a file
# of ours look like another program's, which has no hash.
_FORMAT = "ddarts_format"
_DIGEST = "ddarts_sha256"
_LENGTH = 8  # bytes of the header's length, which may look like the beginning of anything; then comes its "{"
_LFS = b"version https://git-lfs"


def save_weights(
    path: str | os.PathLike[str], state_dict: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a state dict and text metadata in one step: a crash leaves the old file or the new. Raises DdartsError."""
    path, metadata = Path(path), dict(metadata or {})
    if not all(isinstance(text, str) for item in metadata.items() for text in item):
        raise TypeError("metadata holds strings only")
    tensors = {  # copies: the format knows no aliases
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in state_dict.items()
    }
    metadata[_FORMAT] = "weights-1"
    metadata[_DIGEST] = _digest(tensors, metadata)
    try:
        files.atomic_write_bytes(path, safetensors.torch.save(tensors, metadata))
    except OSError as error:
        raise DdartsError(f"{path}: weights not written ({error.strerror or error})") from error


def load_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read `(state_dict, metadata)`, tensors on the CPU. Files of other programs are read too, without a hash check.

    Raises UsageError where there is no such file, DdartsError where it is damaged or something else.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(len(_LFS))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file of weights") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    _refuse_other_formats(path, head)
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            metadata = dict(stored.metadata() or {})
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DdartsError(f"{path}: not a safetensors file, or damaged ({error}); get it again") from None
    expected = metadata.pop(_DIGEST, None)
    if (expected or _FORMAT in metadata) and expected != _digest(tensors, metadata):
        raise DdartsError(f"{path}: damaged (its content does not match the hash inside it); get it again")
    metadata.pop(_FORMAT, None)
    return tensors, metadata


def _refuse_other_formats(path: Path, head: bytes) -> None:
    if head.startswith(_LFS):
        raise DdartsError(f"{path}: a Git LFS pointer, not the weights; run `git lfs pull` where it came from")
    if head.startswith((b"PK\x03\x04", b"\x80")) and head[_LENGTH : _LENGTH + 1] != b"{":
        raise DdartsError(f"{path}: a pickled PyTorch file where safetensors is expected; nothing of it was read")


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes, bytes and metadata, in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    digest.update(repr(sorted((key, text) for key, text in metadata.items())).encode())
    return digest.hexdigest()
