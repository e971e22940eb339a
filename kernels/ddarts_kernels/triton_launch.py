"""The one place from which Triton kernels start, so that what would be launched can also be listed.

A listing needs neither a GPU nor memory for results: it is how every kernel is compiled ahead of time exactly as the
functions of a backend launch it (benchmarks/gpu_resources.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Launch(NamedTuple):
    """A kernel with its grid, its arguments by name and its number of warps."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    warps: int


_listing: list[Launch] | None = None


def launch(kernel: Any, grid: tuple[int, ...], *, warps: int = 4, **arguments: Any) -> None:
    """Runs `kernel` on the current device and stream, or only notes it inside `listed`."""
    if _listing is not None:
        _listing.append(Launch(kernel, grid, arguments, warps))
        return
    kernel[grid](**arguments, num_warps=warps)


@contextmanager
def listed() -> Iterator[list[Launch]]:
    """Collects launches instead of running them: results are what torch.empty gave."""
    global _listing
    previous, _listing = _listing, []
    try:
        yield _listing
    finally:
        _listing = previous
