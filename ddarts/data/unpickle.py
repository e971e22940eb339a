"""Reading a pickled CIFAR batch without letting it run anything.

A pickle may name any function to be called with any arguments. The real batches name four things, which is all that
`_Restricted` knows; everything else is refused before it is imported.
"""

import io
import pickle
from typing import Any

import numpy as np

from ddarts.data.images import one_line
from ddarts.runtime.errors import DdartsError


class _RefusedError(Exception):
    """The pickle named a global that no CIFAR batch needs."""


# The stand-ins below have no attributes: a pickle can try to set some on whatever it names.
# This one is for numpy.ndarray, which is only mentioned, as an argument of _reconstruct; it cannot be called.
_NDARRAY = object()


class _Reconstruct:
    """numpy's _reconstruct for the one call that pickled arrays make: an empty array, to be filled by its state."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> np.ndarray:
        if kind is not _NDARRAY or shape != (0,):
            raise _RefusedError("numpy.core.multiarray._reconstruct with unusual arguments")
        return np.empty(0, np.uint8)


class _Encode:
    """_codecs.encode as Python 3 uses it to write bytes in old protocols."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str = "latin1") -> bytes:
        if encoding != "latin1":
            raise _RefusedError(f"_codecs.encode to {encoding}")
        return text.encode("latin1")


_RECONSTRUCT = _Reconstruct()
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _Encode(),
}


class _Restricted(pickle.Unpickler):
    """Looks names up in a fixed table; never imports."""

    def find_class(self, module: str, name: str) -> Any:
        """The table's entry for module.name, or a refusal."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


def unpickle_batch(content: bytes, where: str, label_key: str, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (uint8 [N, pixels]) and labels (int64 [N]) of one batch.

    Args:
        content: the file's bytes.
        where: the file's name, for messages.
        label_key: "labels" or "fine_labels".
        pixels: bytes per image.

    Raises:
        DdartsError: names the file, and what the pickle asked for if that was refused.
    """
    try:
        batch = _Restricted(io.BytesIO(content), encoding="bytes").load()
    except _RefusedError as refused:
        raise DdartsError(f"{where}: refused: the pickle asks for {refused}, which no CIFAR batch needs") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DdartsError(f"{where}: not a readable CIFAR batch ({type(error).__name__}: {one_line(error)})") from error
    if not isinstance(batch, dict):
        raise DdartsError(f"{where}: holds a {type(batch).__name__}, not a dictionary")
    data, labels = (batch.get(key.encode(), batch.get(key)) for key in ("data", label_key))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != pixels:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DdartsError(f"{where}: 'data' must be uint8 [N, {pixels}], found {found}")
    if not isinstance(labels, list) or not all(type(label) is int and abs(label) < 2**31 for label in labels):
        raise DdartsError(f"{where}: '{label_key}' must be a list of whole numbers")
    if len(labels) != len(data) or not labels:
        raise DdartsError(f"{where}: {len(labels)} labels for {len(data)} images")
    return data, np.array(labels, np.int64)
