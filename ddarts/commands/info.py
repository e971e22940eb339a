"""`ddarts info`: what this installation can do, and why it cannot do the rest."""

import os
import platform
from importlib import metadata
from typing import Any

from ddarts import __version__
from ddarts.config import InfoConfig

_LIBRARIES = ("torch", "torchvision", "numpy", "triton", "deepspeed", "nvidia-dali-cuda130")


def info(_options: InfoConfig) -> dict[str, Any]:
    """Versions, devices, the build record of the compiled libraries, the backend that applies, and one row for every
    operator and backend."""
    return {
        "versions": {"ddarts": __version__, "python": platform.python_version(), **_versions()},
        "devices": _devices(),
        "build": _build(),
        "backend": _backend(),
        "operators": _operators(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _devices() -> dict[str, str]:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = {"cpu": f"{usable} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        devices[f"cuda:{index}"] = f"{properties.name}, {memory:.0f} GiB, sm_{properties.major}{properties.minor}"
    if not torch.cuda.device_count():
        devices["cuda"] = f"no GPU is usable (torch is built for CUDA {torch.version.cuda or 'no version'})"
    return devices


def _build() -> dict[str, Any]:
    from ddarts.ops.library import cuda_library, library

    found, cuda = library(), cuda_library()
    files = {"CUDA library": ": ".join(str(part) for part in (cuda.path, cuda.problem) if part)}
    if found.problem:
        return {"problem": found.problem, **files, **found.record}
    return {"file": str(found.path), **files, **found.record, "cpu capability": found.capability}


def _backend() -> dict[str, str]:
    """What applies without --backend, or why it cannot."""
    from ddarts.ops.dispatch import VARIABLE, backend_choice
    from ddarts.runtime.errors import UsageError

    try:
        return {"chosen": backend_choice()}
    except UsageError as error:  # of a wrong DDARTS_BACKEND: here the user looks for the reason
        return {"chosen": os.environ[VARIABLE], "problem": str(error)}


def _operators() -> list[dict[str, Any]]:
    from ddarts import ops

    return [row._asdict() for row in ops.table()]
