"""pools in plain torch: short, obviously right, any device, float64-capable.

Legend: N images in G groups of consecutive ones, each with statistics of its own, H, W pixels (h, w after the stride),
C channels, stored channels last: [N, H, W, C]; E edges.
Both pools are 3x3 with padding 1; the average leaves the padding out. p = 0: maximum, 1: average.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.statistics import like, statistics


def forward(x: Tensor, stride: int, eps: float, groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x [N, H, W, C] → maximum and average [N, h, w, C]; index, uint8 [N, h, w, C]: where in its window the maximum
    lies, 0 ... 8 in row-major order, the first of equals; mean and rstd [G, 2, C], each group's statistics of both.

    A NaN is larger than every number.
    """
    images = x.to(accumulation_dtype(x.dtype)).permute(0, 3, 1, 2)
    if not x.numel():
        pools = [images[:, :, ::stride, ::stride]] * 2
        place = torch.zeros_like(pools[0], dtype=torch.long)
    else:
        most, place = F.max_pool2d(images, 3, stride, 1, return_indices=True)
        pools = [most, F.avg_pool2d(images, 3, stride, 1, count_include_pad=False)]
    width = x.shape[2]
    row = torch.arange(place.shape[2], device=x.device)[:, None] * stride - 1
    column = torch.arange(place.shape[3], device=x.device) * stride - 1
    index = (place // max(1, width) - row) * 3 + place % max(1, width) - column
    last = [p.permute(0, 2, 3, 1) for p in pools]
    mean, rstd = statistics(torch.stack(last), eps, groups)
    return like(last[0], x), like(last[1], x), index.permute(0, 2, 3, 1).to(torch.uint8).contiguous(), mean, rstd


def backward(
    grads: Sequence[Tensor],
    most: Tensor,
    average: Tensor,
    index: Tensor,
    coefficients: Tensor,
    height: int,
    width: int,
    stride: int,
) -> Tensor:
    """Gradient [N, H, W, C] of the pooled state, for the gradients of both pools
    g[p] = Σ_e coefficients[p, e]·grads[e] + coefficients[p, E]·pool[p] + coefficients[p, E + 1],
    the form in which BN's backward gives them. grads: E tensors [N, h, w, C]; coefficients [2, E + 2, C].
    """
    wide = accumulation_dtype(most.dtype)
    g = []
    for p, pool in enumerate((most, average)):
        total = coefficients[p, -2] * pool.to(wide) + coefficients[p, -1]
        for e, grad in enumerate(grads):
            total = total + coefficients[p, e] * grad.to(wide)
        g.append(total)
    images, h, w, channels = most.shape
    dx = torch.zeros(images, height + 2, width + 2, channels, dtype=wide, device=most.device)  # with the padding
    inside = torch.zeros(height + 2, width + 2, dtype=wide, device=most.device)
    inside[1:-1, 1:-1] = 1
    windows = [
        (slice(i, i + stride * (h - 1) + 1, stride), slice(j, j + stride * (w - 1) + 1, stride))
        for i in range(3)
        for j in range(3)
    ]
    if h and w:
        count = torch.stack([inside[rows, columns] for rows, columns in windows]).sum(0)
        share = g[1] / count[:, :, None]
        for place, (rows, columns) in enumerate(windows):
            dx[:, rows, columns] += torch.where(index == place, g[0], 0) + share
    return like(dx[:, 1:-1, 1:-1], most)
