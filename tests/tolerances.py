"""How wrong an operator may be, in one place.

r is the float64 reference on the inputs as rounded, e is plain eager torch in the tested dtype, k the kernel:

    max|k - r| <= c max|e - r| + slack,   c = 2 forward, 3 gradients

The slack is a few roundings of the largest reference value, for the cases in which eager happens to be exact. In
float64 r is no better than k or e, only different: there the slack allows for long sums in another order.
"""

import torch
from torch import Tensor

FORWARD, GRADIENT = 2.0, 3.0
ROUNDINGS, FLOAT64_ROUNDINGS = 2.0, 32.0


def assert_as_accurate(
    kernel: Tensor, eager: Tensor, reference: Tensor, factor: float, what: str, scale: float = 0.0
) -> None:
    """Fails unless `kernel` is about as close to `reference` (float64) as `eager` is.

    scale: the size of what cancels in the result (the gradient of BN over one value is zero, but not its rounding).
    """
    assert kernel.shape == reference.shape, f"{what}: shape {tuple(kernel.shape)}, expected {tuple(reference.shape)}"
    if not reference.numel():
        return
    assert torch.isfinite(kernel).all(), f"{what}: not finite"
    error = (kernel.double() - reference).abs().max().item()
    allowed = factor * (eager.double() - reference).abs().max().item()
    roundings = FLOAT64_ROUNDINGS if kernel.dtype == torch.float64 else ROUNDINGS
    slack = roundings * torch.finfo(kernel.dtype).eps * max(scale, reference.abs().max().item())
    assert error <= allowed + slack, f"{what}: error {error:.3e} exceeds {allowed:.3e} + {slack:.3e}"


def assert_close(actual: Tensor, expected: Tensor, relative: float = 1e-9) -> None:
    """Fails unless all entries agree, relative to the largest expected one."""
    scale = expected.abs().max().clamp_min(1e-30)
    error = ((actual - expected).abs().max() / scale).item()
    assert error <= relative, f"off by {error:.2e} of the largest entry"
