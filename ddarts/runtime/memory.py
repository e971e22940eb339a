"""What to say when memory runs out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ddarts.runtime.errors import DdartsError

_CPU = "can't allocate memory"  # torch has no class of its own for it on the CPU
# What layers put out is kept for the backward pass, and there is about one gradient of that size at work.
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


def estimate(activations: int, params: int, images: int, precision: str) -> int:
    """Bytes that a step takes, roughly: numbers kept of each of `images`, and weights with gradients and momenta."""
    return activations * images * _BYTES[precision] + 3 * 4 * params


@contextmanager
def explained(batch_size: int, init_channels: int, bytes_needed: Callable[[], int], otherwise: str) -> Iterator[None]:
    """Turn an allocation that failed into a DdartsError that says what was asked for, how much that takes, what to
    lower, and what helps `otherwise`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and _CPU not in str(error):
            raise
        raise DdartsError(
            f"not enough memory for --batch_size {batch_size} at --init_channels {init_channels} "
            f"(about {bytes_needed() / 2**30:.1f} GiB): lower one of them, or use {otherwise}"
        ) from None
