"""Row numbers on a device. A list as an index would be copied from the host each time, which makes the host wait and
cannot be part of a CUDA graph."""

from functools import cache

import torch
from torch import Tensor


@cache
def rows_on(device: torch.device, rows: tuple[int, ...]) -> Tensor:
    """`rows` as int64, made once."""
    with torch.inference_mode(False):
        return torch.tensor(rows, dtype=torch.int64, device=device)
