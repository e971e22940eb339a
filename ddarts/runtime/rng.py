"""The state of every global random generator, in a form that a checkpoint holds."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ddarts.runtime.errors import DdartsError


def rng_state() -> dict[str, Any]:
    """The states of Python's, numpy's (legacy, global) and torch's generators (CPU, and the current GPU if in use)."""
    version, words, gauss_next = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state: dict[str, Any] = {
        "python": {"version": version, "words": np.array(words, dtype=np.uint32), "gauss_next": gauss_next},
        "numpy": {"name": name, "keys": keys, "position": position, "has_gauss": has_gauss, "cached": float(cached)},
        "torch": torch.get_rng_state(),
    }
    if _cuda_in_use():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put back what `rng_state` returned; a GPU's state is passed over where no GPU is in use. Raises DdartsError."""
    try:
        python, legacy = state["python"], state["numpy"]
        random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss_next"]))
        np.random.set_state((legacy["name"], legacy["keys"], legacy["position"], legacy["has_gauss"], legacy["cached"]))
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DdartsError(f"the state of the random generators does not fit this program ({error})") from error


def _cuda_in_use() -> bool:
    # A GPU nobody touched has drawn nothing; asking it would start a context on it.
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
