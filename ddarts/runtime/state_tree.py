"""A nested state (dicts, lists, tensors, numbers) ⇄ flat tensors + JSON, without losing a bit and without pickle.

JSON holds the structure. Everything JSON cannot say exactly is an object with one telling key:

    {"dict": [[key, value], ...]}     keys are strings or whole numbers, order kept
    {"tuple": [...]}                  lists are plain JSON lists
    {"float": "0x1.8p+1"}             hexadecimal; NaN and infinities as their 64 bits, "bits:7ff8000000000000"
    {"tensor": name, ...}             in the tensor file; with "stride" where the memory format is not the default,
    {"array": name, ...}              with "dtype" and "shape" where the tensor file holds raw bytes;
    {"scalar": name, ...}             a numpy array, a numpy scalar
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddarts.runtime.errors import DdartsError

MAX_DEPTH = 64  # levels of dicts and lists

# dtypes that the safetensors format and torch both name; all others travel as raw bytes.
_NATIVE = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
}  # fmt: skip
_DTYPES = {str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


def pack(state: Mapping[Any, Any]) -> tuple[Any, dict[str, Tensor]]:
    """Split a state into a JSON-ready tree and named tensors (contiguous CPU copies that share no memory).

    Raises DdartsError naming the entry for anything but dicts with string or whole-number keys, lists, tuples,
    dense tensors, numpy arrays of numbers, int, float, bool, str and None.
    """
    tensors: dict[str, Tensor] = {}
    return _pack(state, "", tensors, 0), tensors


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> dict[Any, Any]:
    """The inverse of `pack`. Raises ValueError on anything `pack` cannot have written."""
    state = _unpack(tree, tensors, 0)
    if not isinstance(state, dict):
        raise ValueError("the state is not a dict")
    return state


def _pack(value: Any, where: str, tensors: dict[str, Tensor], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise DdartsError(f"checkpoint entry {where[:80]!r}: nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Tensor):
        return _pack_tensor("tensor", value, where, tensors)
    if isinstance(value, np.ndarray):
        return _pack_tensor("array", _from_numpy(value, where), where, tensors)
    if isinstance(value, np.generic):
        return _pack_tensor("scalar", _from_numpy(np.asarray(value), where), where, tensors)
    if isinstance(value, float):
        return {"float": _float_text(value)}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return {"dict": [_pack_item(key, item, where, tensors, depth) for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, _join(where, i), tensors, depth + 1) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise DdartsError(f"checkpoint entry {where!r}: a {type(value).__name__} cannot be saved")


def _pack_item(key: Any, item: Any, where: str, tensors: dict[str, Tensor], depth: int) -> list[Any]:
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise DdartsError(f"checkpoint entry {where!r}: key {key!r} is neither a string nor a whole number")
    return [key, _pack(item, _join(where, key), tensors, depth + 1)]


def _join(where: str, key: str | int) -> str:
    """A path as in JSON pointers: `/` inside a key is written ~1, `~` is written ~0."""
    part = str(key).replace("~", "~0").replace("/", "~1").encode("utf-8", "backslashreplace").decode()
    return f"{where}/{part}" if where else part


def _pack_tensor(kind: str, value: Tensor, where: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        raise DdartsError(f"checkpoint entry {where!r}: only dense tensors that hold data can be saved")
    value = value.detach().resolve_conj().resolve_neg()
    node: dict[str, Any] = {kind: where}
    if value.stride() != _default_stride(value.shape) and is_dense(value.shape, value.stride()):
        # Kept in the order it has in memory (channels_last, say): kernels choose by it, and so do the last bits.
        node.update(shape=list(value.shape), stride=list(value.stride()))
        value = value.as_strided((value.numel(),), (1,))
    value = value.to("cpu", copy=True, memory_format=torch.contiguous_format)
    if value.dtype not in _NATIVE:
        node.setdefault("shape", list(value.shape))
        node["dtype"] = str(value.dtype)
        value = value.reshape(-1).view(torch.uint8)
    while node[kind] in tensors or node[kind] in ("", "__metadata__"):  # {0: a, "0": b}; names the format reserves
        node[kind] += "~"
    tensors[node[kind]] = value
    return node


def _from_numpy(value: np.ndarray, where: str) -> Tensor:
    try:
        return torch.from_numpy(np.array(value, order="K", copy=True, subok=False))
    except (TypeError, ValueError):
        raise DdartsError(f"checkpoint entry {where!r}: a numpy array of {value.dtype.str} cannot be saved") from None


def _unpack(node: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if node is None or isinstance(node, (bool, int, str)):
        return node
    if isinstance(node, list):
        return [_unpack(item, tensors, depth + 1) for item in node]
    if not isinstance(node, dict):
        raise ValueError(f"unexpected {type(node).__name__} in the state")
    if "dict" in node:
        return {_key(key): _unpack(item, tensors, depth + 1) for key, item in node["dict"]}
    if "tuple" in node:
        return tuple(_unpack(item, tensors, depth + 1) for item in node["tuple"])
    if "float" in node:
        return _float_value(node["float"])
    if "tensor" in node:
        return _unpack_tensor(node, tensors[node["tensor"]])
    if "array" in node:
        return _unpack_tensor(node, tensors[node["array"]]).numpy()
    if "scalar" in node:
        return _unpack_tensor(node, tensors[node["scalar"]]).numpy()[()]
    raise ValueError(f"unknown entry {sorted(node)} in the state")


def _key(key: Any) -> str | int:
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise ValueError("a key of the state is neither a string nor a whole number")
    return key


def _unpack_tensor(node: dict[str, Any], stored: Tensor) -> Tensor:
    value = stored.clone()  # memory of torch's own, aligned as a fresh tensor's
    if "dtype" in node:
        value = value.view(_DTYPES[node["dtype"]])
        if "stride" not in node:
            value = value.reshape(node["shape"])
    if "stride" in node:
        shape, stride = tuple(node["shape"]), tuple(node["stride"])
        if math.prod(shape) != value.numel() or not is_dense(shape, stride):
            raise ValueError("a tensor's shape and stride do not fit its data")
        value = value.as_strided(shape, stride)
    return value


def is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements fill their span of memory, each exactly once (any order of the dimensions)."""
    expected = 1
    for step, size in sorted((step, size) for step, size in zip(stride, shape, strict=True) if size != 1):
        if step != expected:
            return False
        expected *= size
    return expected > 0 and min(stride, default=0) >= 0


def _default_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    stride, step = [], 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    return tuple(reversed(stride))


def _float_text(value: float) -> str:
    return float(value).hex() if math.isfinite(value) else "bits:" + struct.pack(">d", value).hex()


def _float_value(text: str) -> float:
    if text.startswith("bits:"):
        return float(struct.unpack(">d", bytes.fromhex(text[5:]))[0])
    return float.fromhex(text)
