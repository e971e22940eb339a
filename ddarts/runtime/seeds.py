"""Seeds, and random numbers that depend on their address only.

Numbers drawn with `uniform` are the same on every machine and rank and in any order of calls: a run that resumes in
the middle, or does its work in another order, draws what it would have drawn.
"""

import hashlib
import math
import random
from collections.abc import Sequence

import numpy as np
import torch

_WORD = 1 << 64


def seed_all(seed: int) -> None:
    """Seed Python's, numpy's (legacy, global) and torch's generators, GPUs included."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)


def uniform(seed: int, step: int, stream: int | str, shape: int | Sequence[int]) -> np.ndarray:
    """Random float64 in [0, 1) of `shape`, a pure function of its arguments.

    `stream` tells apart uses that share a seed and a step: a number below 2**64, or a name. Streams and steps never
    overlap: Philox 4x64 with key (seed, stream) and the step in the counter's top word.
    """
    size = (shape,) if isinstance(shape, int) else tuple(shape)
    if isinstance(stream, str):
        stream = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    key = np.array([seed % _WORD, stream % _WORD], dtype=np.uint64)
    counter = np.array([0, 0, 0, step % _WORD], dtype=np.uint64)
    # Raw words, not Generator.random: numpy promises the words of a bit generator for ever, distributions not.
    words = np.random.Philox(key=key, counter=counter).random_raw(math.prod(size))
    return ((words >> np.uint64(11)) * 2.0**-53).reshape(size)
