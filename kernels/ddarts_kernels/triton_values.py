"""Conversions between what is stored and what is computed with, right on a GPU and in Triton's interpreter.

The interpreter cuts float32 to bfloat16 instead of rounding (asked to round, it loses the carry), and turns subnormal
bfloat16 into zero. There, and only there, both conversions are spelled out on the bits.
"""

import os

import torch
import triton
import triton.language as tl

TYPES = {
    torch.float32: tl.float32,
    torch.float64: tl.float64,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
}
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def widen(x, WIDE: tl.constexpr):
    """`x` in the type of sums, exactly."""
    if INTERPRETED and x.dtype == tl.bfloat16:
        wide = (x.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        wide = x.to(WIDE)
    return wide


@triton.jit
def narrow(x, STORED: tl.constexpr):
    """`x` rounded to the nearest number of the stored type, ties to even."""
    if INTERPRETED and STORED == tl.bfloat16:
        bits = x.to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        quiet = (bits >> 16) | 0x40  # a NaN must not be rounded into an infinity
        stored = tl.where(x == x, rounded, quiet).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        stored = x.to(STORED)
    return stored
