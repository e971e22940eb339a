"""The one place from which Triton kernels start, so that what would be launched can also be listed.

A listing needs neither a GPU nor memory for results: it is how every kernel is compiled ahead of time exactly as the
functions of a backend launch it (benchmarks/gpu_resources.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Launch(NamedTuple):
    """A kernel with its grid, its arguments by name, and how it is compiled: Triton's options by name."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    options: dict[str, int]


_listing: list[Launch] | None = None


def launch(kernel: Any, grid: tuple[int, ...], *, warps: int = 4, registers: int = 0, **arguments: Any) -> None:
    """Runs `kernel` on the current device and stream, or only notes it inside `listed`.

    registers: how many a thread may take. Without a number the assembler looks for one that leaves room for more
    programs at once, and then spills a few bytes.
    """
    options = {"num_warps": warps, **({"maxnreg": registers} if registers else {})}
    if _listing is not None:
        _listing.append(Launch(kernel, grid, arguments, options))
        return
    kernel[grid](**arguments, **options)


@contextmanager
def listed() -> Iterator[list[Launch]]:
    """Collects launches instead of running them: results are what torch.empty gave."""
    global _listing
    previous, _listing = _listing, []
    try:
        yield _listing
    finally:
        _listing = previous
