"""No kernel is timed that is wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ddarts.runtime.errors import DdartsError

# For inputs of a dtype, relative to the largest value: far above rounding (sums over a channel, and one rounding for
# each term in eager's 16-bit sums), far below any bug.
_ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 1e-1, torch.float16: 2e-2}


class WrongKernelError(DdartsError):
    """A contestant computes something else, or nothing."""


@contextmanager
def failures(who: str) -> Iterator[None]:
    """What a contestant raises, as one line that names it. Lack of memory is not its fault."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        line = (str(error).splitlines() or [""])[0]
        raise WrongKernelError(f"{who}: fails ({type(error).__name__}: {line})") from error


def check_close(
    who: str, got: Sequence[Tensor], wanted: Sequence[Tensor], names: Sequence[str], allowed: float | None = None
) -> None:
    """WrongKernelError, naming contestant and result, unless `got`, of which the first has the dtype of the inputs, is
    `wanted` (float64) up to rounding; allowed: how far off, where the dtype does not say it."""
    allowed = _ALLOWED[got[0].dtype] if allowed is None else allowed
    for name, x, y in zip(names, got, wanted, strict=True):
        if x.shape != y.shape:
            raise WrongKernelError(f"{who}: {name} has shape {list(x.shape)}, not {list(y.shape)}")
        error = _error(x.double(), y)
        if not error <= allowed:  # also where it is NaN
            raise WrongKernelError(
                f"{who}: {name} is wrong by {error:.1e} of its largest value (allowed {allowed:.0e})"
            )


def check_equal(who: str, got: object, wanted: object) -> None:
    """WrongKernelError, naming the contestant, unless `got` is `wanted`."""
    if got != wanted:
        raise WrongKernelError(f"{who}: keeps other operations than the reference parse")


def _error(x: Tensor, y: Tensor) -> float:
    return ((x - y).abs().max() / y.abs().max().clamp_min(1e-30)).item()
