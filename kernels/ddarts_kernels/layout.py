"""What every backend agrees on: the type in which sums are formed, and the layout of results."""

import torch
from torch import Tensor


def layout_of(x: Tensor) -> torch.memory_format:
    """channels_last where `x` is dense in that order and not already contiguous, else contiguous."""
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for anything narrower."""
    return torch.promote_types(dtype, torch.float32)
