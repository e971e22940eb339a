"""Drop-path: whole node sums of single images are left out while training."""

import torch
from torch import Tensor


def drop_path(x: Tensor, keep: Tensor) -> Tensor:
    """Keep every image's `x` with probability `keep`, scaled by 1/keep so that the mean stays; else zero it.

    x: [N, C, H, W]. keep: a scalar in (0, 1]; a tensor, so that a probability that changes every epoch does not
    make a compiled network compile again.
    """
    draws = torch.rand(x.shape[0], 1, 1, 1, device=x.device, dtype=torch.float32)
    return x * ((draws < keep).float() / keep).to(x.dtype)
