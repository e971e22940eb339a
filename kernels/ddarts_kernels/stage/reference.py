"""stage in plain torch: short, obviously right, any device, float64-capable.

Legend: E edges, S kinds of kernel (such as 3x3, 5x5, 3x3 dilated), X inputs (1: all edges read the same; E: each its
own), N images, H, W pixels (h, w after the stride), K kernel size, C channels. Pixels are stored channels last:
[X, N, H, W, C]. Forward, the images may be G groups of networks side by side, each with statistics of its own:
N / G consecutive images belong together.

    u = ReLU(z),  z = x or BN(x)        y[s][e] = pointwise[s][e](depthwise[s][e](u[e]))
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.statistics import like, normalized, statistics


def forward(
    x: Tensor,
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    dilation: Sequence[int],
    stride: int,
    mean: Tensor | None,
    rstd: Tensor | None,
    eps: float,
    groups: int,
    dtype: torch.dtype | None = None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """x [X, N, H, W, C], depthwise[s] [E, K, K, C], pointwise[s] [E, C, C] (in, out), mean and rstd [G, X, C] of
    BN before the ReLU (None: no BN) → y[s] [E, N, h, w, C], and each group's statistics mean and rstd of y,
    [G, S, E, C].

    Padding keeps H and W at stride 1. y is stored as `dtype` (None: that of x). Statistics are of y as computed, before
    it is rounded to it: roundings to the nearest nearly cancel in them.
    """
    wide = accumulation_dtype(x.dtype)
    u = _normalized(x.to(wide), mean, rstd, groups).relu()
    y = [_stage(u, d.to(wide), p.to(wide), a, stride) for d, p, a in zip(depthwise, pointwise, dilation, strict=True)]
    found = [statistics(v, eps, groups) for v in y]
    return (
        [v.to(dtype or x.dtype) for v in y],
        torch.stack([m for m, _ in found], 1),
        torch.stack([r for _, r in found], 1),
    )


def backward(
    grads: Sequence[Tensor],
    y: Sequence[Tensor],
    coefficients: Tensor,
    x: Tensor,
    depthwise: Sequence[Tensor],
    pointwise: Sequence[Tensor],
    dilation: Sequence[int],
    stride: int,
    mean: Tensor | None,
    rstd: Tensor | None,
    need_weights: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """Gradients for dy[s][e] = coefficients[s, e, 0]·grads[s·E + e] + coefficients[s, e, 1]·y[s][e]
    + coefficients[s, e, 2], the form in which BN's backward gives them. grads: S·E tensors [N, h, w, C];
    coefficients [S, E, 3, C]. x and y may be float16 where grads are float32.

    Returns dz [X, N, H, W, C] in the dtype of grads, the gradient in front of the ReLU, summed over all that read an
    input; the gradients of depthwise and pointwise (empty lists unless need_weights); with mean and rstd [X, C], sums
    [X, 2, C] = Σ dz and Σ dz·z, for the backward of the BN in front (else empty).
    """
    wide = accumulation_dtype(x.dtype)
    z = normalized(x.to(wide), mean, rstd)
    dz = torch.zeros_like(z)
    weights: tuple[list[Tensor], list[Tensor]] = ([], [])
    edges = len(depthwise[0])
    for s, (d, p, a) in enumerate(zip(depthwise, pointwise, dilation, strict=True)):
        g = torch.stack([v.to(wide) for v in grads[s * edges : (s + 1) * edges]])
        c = coefficients[s].to(wide)[:, :, None, None, None]
        dy = c[:, 0] * g + c[:, 1] * y[s].to(wide) + c[:, 2]
        du, *found = _stage_backward(dy, z.relu(), d.to(wide), p.to(wide), a, stride, need_weights)
        dz += torch.ops.aten.threshold_backward(du, z, 0)
        for target, value, reference in zip(weights, found, (d, p), strict=False):
            target.append(like(value, reference))
    if mean is None:
        return like(dz, grads[0]), *weights, dz.new_empty(0)
    sums = torch.stack([dz.flatten(1, 3).sum(1), (dz * z).flatten(1, 3).sum(1)], dim=1)
    return like(dz, grads[0]), *weights, sums


def _normalized(x: Tensor, mean: Tensor | None, rstd: Tensor | None, groups: int) -> Tensor:
    """As normalized, by mean and rstd [G, X, C]."""
    if mean is None or rstd is None:
        return x
    alike = x.unflatten(1, (groups, x.shape[1] // groups)).flatten(0, 1)
    return normalized(alike, *(v.transpose(0, 1).flatten(0, 1) for v in (mean, rstd))).view(x.shape)


def _stage(u: Tensor, depthwise: Tensor, pointwise: Tensor, dilation: int, stride: int) -> Tensor:
    """[X, N, H, W, C] → [E, N, h, w, C]."""
    images = _images(u, len(depthwise))
    return torch.stack([_convolved(images[e], d, dilation, stride) @ pointwise[e] for e, d in enumerate(depthwise)])


def _stage_backward(
    dy: Tensor, u: Tensor, depthwise: Tensor, pointwise: Tensor, dilation: int, stride: int, need_weights: bool
) -> tuple[Tensor, ...]:
    """Gradients of u, summed over the edges that read it, and (need_weights) of depthwise and pointwise. Written
    without autograd, which an operator's implementation cannot count on."""
    images, padding, channels = _images(u, len(depthwise)), dilation * (depthwise.shape[1] // 2), u.shape[-1]
    found = []
    for e, d in enumerate(depthwise):
        geometry = ([stride] * 2, [padding] * 2, [dilation] * 2, False, [0, 0], channels, [True, need_weights, False])
        middle = (dy[e] @ pointwise[e].T).permute(0, 3, 1, 2)
        du, taps, _ = torch.ops.aten.convolution_backward(middle, images[e], _taps(d), None, *geometry)
        found.append([du.permute(0, 2, 3, 1)])
        if need_weights:
            inner = _convolved(images[e], d, dilation, stride)
            found[-1] += [taps[:, 0].permute(1, 2, 0), inner.flatten(0, 2).T @ dy[e].flatten(0, 2)]
    du, *weights = (torch.stack(values) for values in zip(*found, strict=True))
    return du.sum(0, keepdim=True) if len(u) == 1 else du, *weights


def _images(u: Tensor, edges: int) -> Tensor:
    """[X, N, H, W, C] → [E, N, C, H, W]."""
    return u.expand(edges, *u.shape[1:]).permute(0, 1, 4, 2, 3)


def _convolved(images: Tensor, depthwise: Tensor, dilation: int, stride: int) -> Tensor:
    """[N, C, H, W] → [N, h, w, C]."""
    kernel, channels = depthwise.shape[1:]
    padding = dilation * (kernel // 2)
    return F.conv2d(images, _taps(depthwise), None, stride, padding, dilation, channels).permute(0, 2, 3, 1)


def _taps(depthwise: Tensor) -> Tensor:
    """[K, K, C] → [C, 1, K, K]."""
    return depthwise.permute(2, 0, 1)[:, None]
