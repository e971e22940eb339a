"""What the measurements were made on."""

import os
import platform
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddarts.ops.library import library
from ddarts_benchmarks.timing import Contestant, buffer_sets, take_turns

_COPIED = 256 << 20  # bytes: beyond the caches of most machines
_ROUNDS = 5
_PRODUCT = 1024  # rows and columns of the matrices whose product is measured


def describe(device: torch.device) -> dict[str, Any]:
    """Names, versions, and how many bytes a second (read + written) a plain copy beyond the caches moves."""
    return {
        "device": device.type,
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "capability": library().capability,
        **(_gpu(device) if device.type == "cuda" else {}),
        "copy_bytes_per_second": copy_bandwidth(device),
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _gpu(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "l2_bytes": properties.L2_cache_size,
        "cuda": torch.version.cuda,
    }


def processor() -> str:
    """The processor's name as Linux has it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def copier(nbytes: int, device: torch.device) -> Contestant:
    """A copy of `nbytes` bytes from one buffer to another: it moves twice as many."""
    steps = []
    for _ in range(buffer_sets(2 * nbytes, device)):
        source = torch.ones(nbytes, dtype=torch.uint8, device=device)
        steps.append(partial(torch.zeros_like(source).copy_, source))
    return Contestant("copy", steps)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second of a copy beyond the caches, the best of a few."""
    return 2 * _COPIED / min(take_turns([copier(_COPIED, device)], _ROUNDS, device)["copy"])


def matmul_rate(device: torch.device) -> float:
    """Floating-point operations a second of a float32 matrix product (1024x1024 times 1024x1024), the best of a few."""
    a, b = (torch.ones(_PRODUCT, _PRODUCT, device=device) for _ in range(2))
    seconds = take_turns([Contestant("matmul", [partial(torch.mm, a, b)])], _ROUNDS, device)["matmul"]
    return 2 * _PRODUCT**3 / min(seconds)
