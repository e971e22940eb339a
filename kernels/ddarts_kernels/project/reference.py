"""project in plain torch: short, obviously right, any device, float64-capable.

Legend: E edges, P parts, N images in G groups of consecutive ones, each with statistics of its own, H, W pixels (h, w
after the stride), I channels of x, o of a part, O = P·o of y. Pixels are stored channels last.

    y[e] = the parts' channels side by side,   part p of pixel (i, j) = weights[p][e] · ReLU(x[i·s + p, j·s + p])

for stride s, with zeros beyond the border. One part at stride 1 is a 1x1 convolution, two at stride 2 a factorised
reduction.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.statistics import like, statistics


def forward(
    x: Tensor, weights: Sequence[Tensor], stride: int, eps: float, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """x [N, H, W, I], weights P of [E, o, I] (out, in) → y [E, N, h, w, O], and each group's statistics mean and rstd
    of y, [G, E, O]. Statistics are of y as computed, before it is rounded to the dtype of x."""
    wide = accumulation_dtype(x.dtype)
    parts = _parts(x.to(wide).relu(), len(weights), stride)
    y = torch.cat([part @ w.to(wide).mT[:, None, None] for part, w in zip(parts, weights, strict=True)], dim=-1)
    return like(y, x), *statistics(y, eps, groups)


def backward(
    grads: Sequence[Tensor],
    y: Tensor,
    coefficients: Tensor,
    x: Tensor,
    weights: Sequence[Tensor],
    stride: int,
    need_weights: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of x and (need_weights; else an empty list) of the weights, for dy[e] = coefficients[e, 0]·grads[e]
    + coefficients[e, 1]·y[e] + coefficients[e, 2]. grads: E tensors [N, h, w, O]; coefficients [E, 3, O]."""
    wide = accumulation_dtype(x.dtype)
    a, b, c = (coefficients[:, i, None, None, None] for i in range(3))
    slopes = (a * torch.stack([grad.to(wide) for grad in grads]) + b * y.to(wide) + c).chunk(len(weights), dim=-1)
    parts = _parts(x.to(wide).relu(), len(weights), stride)
    dx = torch.zeros_like(x, dtype=wide)
    for p, (slope, w) in enumerate(zip(slopes, weights, strict=True)):
        target = dx[:, p::stride, p::stride]
        target += (slope @ w.to(wide)[:, None, None]).sum(0)[:, : target.shape[1], : target.shape[2]]
    dx = torch.ops.aten.threshold_backward(dx, x.to(wide), 0)
    if not need_weights:
        return like(dx, x), []
    return like(dx, x), [
        like(slope.flatten(1, 3).mT @ part.flatten(0, 2), w)
        for slope, part, w in zip(slopes, parts, weights, strict=True)
    ]


def _parts(u: Tensor, parts: int, stride: int) -> list[Tensor]:
    """The pixels [N, h, w, I] that each part reads."""
    rows, columns = ((size - 1) // stride + 1 for size in u.shape[1:3])
    found = [u[:, p::stride, p::stride] for p in range(parts)]
    return [F.pad(v, (0, 0, 0, columns - v.shape[2], 0, rows - v.shape[1])) for v in found]
