"""What makes a search or a training on the CPU faster before it starts. [light]"""

import ctypes
import os
import platform

# From malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 << 20
_SPINS = 10_000
_NEVER = 2**31 - 1


def spin_briefly() -> None:
    """Bound how long idle OpenMP threads spin, unless the environment says how to wait. Call it before importing torch.

    On busy cores threads that spin at every barrier keep each other from working; threads that sleep at once wake too
    late for short operators on idle ones. This many rounds cost nothing there and little here (benchmarks/NOTES.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the next tensor; True where it does.

    A supernet allocates and frees thousands of multi-megabyte tensors a step. By default each goes back to the system
    at once and comes back as untouched pages, every one of them a fault.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD))
    return all([mallopt(name, value) == 1 for name, value in settings])
