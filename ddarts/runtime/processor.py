"""What makes a search or a training on the CPU faster before it starts. [light]"""

import ctypes
import os
import platform

# From malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_TOP_PAD = 64 << 20
_NEVER = 2**31 - 1


def wait_without_spinning() -> None:
    """Let idle OpenMP threads sleep, unless OMP_WAIT_POLICY says otherwise. Call it before torch is imported.

    On busy cores threads that spin at every barrier keep each other from working: two threads were an order of
    magnitude slower than one there.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
