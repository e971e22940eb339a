"""Which implementation of the search network runs: `reference`, or the faster `fused`."""

import logging

import torch

from ddarts.ops import dispatch
from ddarts.runtime.errors import UsageError

_log = logging.getLogger(__name__)


def choose(wanted: str, device: torch.device, precision: str, storage: str = "float32") -> str:
    """The execution for `--supernet wanted`: `auto` takes the fused one where that is faster, and says what it took.
    UsageError where that is the reference, and `--activation_storage storage` needs the fused one."""
    if wanted != "auto":
        return wanted
    reason = _problem(device, precision)
    if reason is None:
        _log.info("search network: fused execution")
        return "fused"
    if storage != "float32":
        raise UsageError(f"--activation_storage {storage}: is of the fused search network, but {reason}")
    _log.info("search network: reference execution (%s)", reason)
    return "reference"


def _problem(device: torch.device, precision: str) -> str | None:
    if precision != "fp32":
        return f"the fused one does not compute in {precision}"
    needed, words = ("cpp", "the compiled operators") if device.type == "cpu" else ("triton", "Triton")
    if dispatch.backend_choice() not in ("auto", needed) or dispatch.problem(needed) is not None:
        return f"the fused one needs {words}"
    return None
