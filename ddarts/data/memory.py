"""How much memory the images of a data set may take, and the refusal of those that need more."""

import os
from contextlib import suppress
from pathlib import Path

from ddarts.runtime.errors import DdartsError


def check_memory(where: str, count: int, size: int, limit: int | None = None, pixel_bytes: int = 3) -> None:
    """Refuse images that do not fit in memory, before any of it is taken.

    Args:
        where: folder or data set, for the message.
        count: number of images.
        size: side of the square images, in pixels.
        limit: bytes that they may take; None is half of the memory that is free.
        pixel_bytes: bytes that a pixel takes while the images are made.

    Raises:
        DdartsError: names what is needed and what there is.
    """
    need, limit = count * pixel_bytes * size * size, available_memory() // 2 if limit is None else limit
    if need > limit:
        raise DdartsError(
            f"{where}: {count} images of {size}x{size} need {need / 2**20:.2f} MiB in memory, "
            f"{limit / 2**20:.2f} MiB may be used; take fewer images or a smaller --image_size"
        )


def available_memory() -> int:
    """Bytes of memory to be had without swapping, within the control group's limit if there is one (Linux)."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, KeyError):
        free = _numbers(Path("/proc/meminfo"))["MemAvailable"] * 1024
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = _numbers(group / "memory.stat")["file"]  # given back by the kernel when somebody wants it
        free = min(free, max(0, limit - used + cached))
    return free


def _numbers(path: Path) -> dict[str, int]:
    """Lines such as "MemAvailable:  123 kB" or "file 123" as a dictionary."""
    rows = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1}
