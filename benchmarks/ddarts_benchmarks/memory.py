"""Memory: how much is left, and how much a piece of work takes at most."""

import ctypes
import multiprocessing
import platform
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ddarts.runtime.processor import keep_freed_memory

Prepare = Callable[..., Callable[[], Any]]


def available(device: torch.device) -> int | None:
    """Bytes that may still be allocated, once what is kept for reuse is given back; None: the system does not say."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    return _line("/proc/meminfo", "MemAvailable")


def peak(device: torch.device, prepare: Prepare, *arguments: Any) -> int:
    """The most bytes that `prepare(*arguments)()` held at once beyond what was held when `prepare` returned. In a
    process of its own, since a process never forgets its peak."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_peak, device, torch.get_num_threads(), prepare, arguments).result()


def _peak(device: torch.device, threads: int, prepare: Prepare, arguments: tuple[Any, ...]) -> int:
    torch.set_num_threads(threads)
    keep_freed_memory()
    work = prepare(*arguments)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with suppress(OSError):  # not Linux, or not allowed: what the preparation took at most counts too
        Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = _highest()
    work()
    return _highest() - before


def _highest() -> int:
    """The most bytes of this process that ever were in memory. Where Linux says it, of this program alone: what
    getrusage says begins with the size of the process that started it."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _line("/proc/self/status", "VmHWM") or unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _line(path: str, name: str) -> int | None:
    """The bytes in a line `name: number kB`."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0]) if found else None
