"""Which implementation of the search network runs: `reference`, or the faster `fused`."""

import logging

import torch

from ddarts.ops import dispatch

_log = logging.getLogger(__name__)


def choose(wanted: str, device: torch.device, precision: str) -> str:
    """The execution for `--supernet wanted`: `auto` takes the fused one where that is faster, and says what it took."""
    if wanted != "auto":
        return wanted
    reason = _problem(device, precision)
    if reason is None:
        _log.info("search network: fused execution")
        return "fused"
    _log.info("search network: reference execution (%s)", reason)
    return "reference"


def _problem(device: torch.device, precision: str) -> str | None:
    if precision != "fp32":
        return f"the fused one does not compute in {precision}"
    needed, words = ("cpp", "the compiled operators") if device.type == "cpu" else ("triton", "Triton")
    if dispatch.backend_choice() not in ("auto", needed) or dispatch.problem(needed) is not None:
        return f"the fused one needs {words}"
    return None
