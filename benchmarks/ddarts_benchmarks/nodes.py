"""Nodes of the supernet as inputs of mixed_sum, and the bytes that the algorithm must move for them.

Legend: N batch, C channels, H = W side; a node has K = 7 terms on each incoming edge, U = n inputs, one for each term.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddarts.ops import Norm
from ddarts.space.primitives import DDARTS

EPS = 1e-5
# Of a stride-1 cell's operations only the identity does not end in BN.
_NORMS = tuple(Norm.NONE if name == "skip_connect" else Norm.BATCH for name in DDARTS.operations)


@dataclass(frozen=True)
class Variant:
    """What is asked of a node.

    backward: the gradients too, not the sum alone. given: batch statistics are given, not computed. wanted: gradients
    of the inputs too, not of the weights alone. logits: σ is applied to the weights. share: part of the terms kept.
    """

    name: str
    backward: bool = True
    given: bool = False
    wanted: bool = True
    logits: bool = False
    share: float = 1.0


FULL = Variant("statistics computed")
GIVEN = Variant("statistics given", given=True)
WEIGHTS_ONLY = Variant("weights' gradient only", wanted=False)
LOGITS = Variant("logits", logits=True)
_SHARES = (1.0, 0.75, 0.5, 0.25)
MASKED = tuple(Variant(f"masked, {share:.0%} kept", share=share) for share in _SHARES)
MASKED_FORWARD = tuple(Variant(f"forward, {share:.0%} kept", backward=False, share=share) for share in _SHARES)


@dataclass(frozen=True)
class Node:
    """A node's incoming edges and the shape of its tensors."""

    edges: int
    batch: int
    channels: int
    side: int
    dtype: torch.dtype = torch.float32

    @property
    def norm(self) -> tuple[Norm, ...]:
        """For each input how it is normalised."""
        return _NORMS * self.edges

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, C, H, W]."""
        return self.batch, self.channels, self.side, self.side

    @property
    def tensor_bytes(self) -> int:
        """Bytes of one input."""
        return self.batch * self.channels * self.side**2 * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.edges} edges, {list(self.shape)} {str(self.dtype).removeprefix('torch.')}"

    def kept(self, share: float) -> list[bool]:
        """Which terms stay: drawn with a fixed seed, those of a smaller share being among those of a larger."""
        order = torch.randperm(len(self.norm), generator=torch.Generator().manual_seed(0)).tolist()
        chosen = set(order[: round(share * len(order))])
        return [term in chosen for term in range(len(order))]

    def bytes_moved(self, variant: Variant) -> int:
        """Bytes read and written by every pass over whole tensors: what is left out is a number for each channel.

        Forward: the statistics read every input with BN, the sum reads all inputs and is written. Backward: the two
        sums of each channel read the gradient and all inputs; the inputs' gradients read the gradient and every input
        with BN, and are written.
        """
        kept = self.kept(variant.share)
        alive = sum(kept)
        normed = sum(keep and norm == Norm.BATCH for keep, norm in zip(kept, self.norm, strict=True))
        passes = (0 if variant.given else normed) + alive + 1
        if variant.backward:
            passes += 1 + alive
        if variant.backward and variant.wanted:
            passes += 1 + normed + alive
        return passes * self.tensor_bytes


@dataclass(frozen=True)
class Case:
    """The tensors of a node: inputs, weights of the terms, gradient of the output, mean and rstd [U, C]."""

    node: Node
    inputs: Sequence[Tensor]
    weights: Tensor
    grad: Tensor
    statistics: tuple[Tensor, Tensor]


def make_case(node: Node, device: torch.device, seed: int = 0) -> Case:
    """Random tensors in channels_last: the inputs normal, of another mean and scale each."""
    generator = torch.Generator(device).manual_seed(seed)

    def draw(shift: float, scale: float) -> Tensor:
        x = torch.randn(node.shape, generator=generator, device=device).mul_(scale).add_(shift)
        return x.to(node.dtype, memory_format=torch.channels_last)

    inputs = [draw(0.1 * u - 1, 0.5 + 0.1 * u) for u in range(len(node.norm))]
    weights = torch.rand(len(inputs), generator=generator, device=device)
    return Case(node, inputs, weights, draw(0, 1), _statistics(inputs, node.norm))


def _statistics(inputs: Sequence[Tensor], norm: Sequence[Norm]) -> tuple[Tensor, Tensor]:
    means, rstds = [], []
    for x, kind in zip(inputs, norm, strict=True):
        variance, mean = torch.var_mean(x.double(), (0, 2, 3), correction=0)
        batch = kind == Norm.BATCH
        means.append(mean if batch else torch.zeros_like(mean))
        rstds.append((variance + EPS).rsqrt() if batch else torch.ones_like(mean))
    return torch.stack(means).float(), torch.stack(rstds).float()
