"""threshold's contestants: the parse in numpy, which reads α on the host, and every backend that is here.

Legend: S cells, E edges, K operations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddarts import ops
from ddarts.genotype.parse import keep_mask, parse
from ddarts.space import primitives
from ddarts.space.primitives import Space
from ddarts.space.topology import steps_of

VALUE = 0.85
Kept = tuple[list[Any], list[list[list[int]]]]  # which operations stay [S, E, K]; (node, source, operation) by cell


@dataclass(frozen=True)
class Stack:
    """Mixing weights of S cells, and the method that parses them."""

    shape: tuple[int, int, int]
    method: str

    @property
    def steps(self) -> int:
        """Nodes of a cell."""
        return steps_of(self.shape[1])

    @property
    def space(self) -> Space:
        """The space with as many operations."""
        return next(space for space in primitives.SPACES.values() if len(space) == self.shape[2])

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.method}"

    def draw(self, device: torch.device) -> Tensor:
        """Twentieths: many ties, and values equal to the threshold."""
        generator = torch.Generator().manual_seed(0)
        return (torch.randint(0, 21, self.shape, generator=generator) / 20).to(device)


def in_numpy(stack: Stack, alphas: Tensor) -> Callable[[], Any]:
    """The cells as ddarts.genotype.parse finds them on the host."""
    return lambda: parse(alphas.cpu().numpy(), stack.space, stack.steps, stack.method, VALUE)


def operator(stack: Stack, alphas: Tensor) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    """ddarts.ops.threshold on whatever backend is chosen when it runs."""
    return lambda: ops.threshold(alphas, stack.steps, stack.method, VALUE)


def truth(stack: Stack, alphas: Tensor) -> Kept:
    """What the reference parse keeps."""
    weights = alphas.cpu().numpy()
    cells = in_numpy(stack, alphas)()
    number = {name: index for index, name in enumerate(stack.space.operations)}
    genes = [[[gene.to, gene.source, number[gene.op]] for gene in cell] for cell in cells]
    return keep_mask(weights, stack.space, stack.steps, stack.method, VALUE).tolist(), genes


def kept(keep: Tensor, table: Tensor, counts: Tensor) -> Kept:
    """What an implementation keeps, in the same form."""
    return keep.tolist(), [rows[:count] for rows, count in zip(table.tolist(), counts.tolist(), strict=True)]
