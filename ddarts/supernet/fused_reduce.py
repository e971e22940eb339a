"""The strided skip connections (FactorizedReduce) of all edges of a state at once, as matrix products.

Legend: e edges, N images, H, W pixels, h, w half of them, rounded up, C channels, c = C/2. conv_1 reads the pixels in
even rows and columns, conv_2 those in odd ones, with zeros beyond the border.
"""

from collections.abc import Sequence

import torch
from ddarts_kernels.statistics import statistics
from torch import Tensor
from torch.nn import functional as F


def forward(x: Tensor, weights: Sequence[Tensor], eps: float, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """x [N, H, W, C] and both weights [e, c, C] (out, in) → y [e, N, h, w, C], and mean
    and rstd [G, e, C] of y for each group of consecutive images."""
    edges, (n, height, width, channels) = len(weights[0]), x.shape
    made = [part.expand(edges, -1, -1) @ w.mT for part, w in zip(_parts(x), weights, strict=True)]
    y = torch.cat(made, dim=2).view(edges, n, (height + 1) // 2, (width + 1) // 2, channels)
    return y, *statistics(y, eps, groups)


def backward(
    grads: Sequence[Tensor], y: Tensor, coefficients: Tensor, x: Tensor, weights: Sequence[Tensor], need_weights: bool
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of x and (need_weights) of both weights, for dy[e] = coefficients[e, 0]·grads[e]
    + coefficients[e, 1]·y[e] + coefficients[e, 2]; grads: e tensors [N, h, w, C]; coefficients [e, 3, C]."""
    a, b, d = (coefficients[:, i, None, None, None] for i in range(3))
    dy = (a * torch.stack(list(grads)) + b * y + d).flatten(1, 3)
    found = [(part @ w).sum(0) for part, w in zip(dy.chunk(2, dim=2), weights, strict=True)]
    even, odd = (v.view(*y.shape[1:4], x.shape[3]) for v in found)
    dx = torch.zeros_like(x)
    dx[:, ::2, ::2] = even
    dx[:, 1::2, 1::2] = odd[:, : x.shape[1] // 2, : x.shape[2] // 2]
    dx = torch.ops.aten.threshold_backward(dx, x, 0)
    if not need_weights:
        return dx, []
    return dx, [half.mT @ part for half, part in zip(dy.chunk(2, dim=2), _parts(x), strict=True)]


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    """ReLU(x) at the pixels that conv_1 and conv_2 read, each [N·h·w, C]."""
    u = x.relu()
    odd = F.pad(u[:, 1::2, 1::2], (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    return u[:, ::2, ::2].flatten(0, 2), odd.flatten(0, 2)
