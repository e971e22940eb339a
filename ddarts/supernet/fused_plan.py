"""How a cell is executed by source state instead of by edge: pure data, and what is kept of a state.

Legend: E edges of a cell, sorted by source, then by target, of which e leave one state; K operations, N images, H, W
pixels (h, w after the stride), C channels. Pixels are stored channels last, [..., H, W, C]; `images` of them are the
same memory as torch's modules see it, [..., C, H, W].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from ddarts_kernels.mixed_sum.reference import Norm
from torch import Tensor

from ddarts.space.topology import INPUTS, targets

MAX, AVERAGE, SKIP = "max_pool_3x3", "avg_pool_3x3", "skip_connect"


class Kind(NamedTuple):
    """One stage of an operation: its depthwise convolution stands at `place` of the branch, the pointwise one and BN
    follow."""

    operation: str
    place: int
    dilation: int


FIRST = (
    Kind("sep_conv_3x3", 1, 1),
    Kind("sep_conv_5x5", 1, 1),
    Kind("dil_conv_3x3", 1, 2),
    Kind("dil_conv_5x5", 1, 2),
)
SECOND = (Kind("sep_conv_3x3", 5, 1), Kind("sep_conv_5x5", 5, 1))
FUSED = frozenset((MAX, AVERAGE, SKIP, *(kind.operation for kind in FIRST)))


class Stacks(NamedTuple):
    """Parameters of all edges: for each of the six stages (FIRST, then SECOND) depthwise [E, K, K, C] and pointwise
    [E, C, C] (in, out); of the strided skip connections conv_1 and conv_2 [edges, C/2, C] (out, in), if there are; of
    the preprocessing of each input the convolution [1, C, I], or both of a factorised reduction [1, C/2, I]."""

    depthwise: Sequence[Tensor]
    pointwise: Sequence[Tensor]
    reduce: Sequence[Tensor]
    inputs: Sequence[Sequence[Tensor]]


@dataclass(frozen=True)
class Visit:
    """A state [N, H, W, C] and all that its edges read of it.

    most, average, index: the pools [N, h, w, C] and where the maxima lie. first, second: what the stages FIRST and
    SECOND make of it, each [e, N, h, w, C]. reduced: strided skip connections [e, N, h, w, C], if it has them.
    mean, rstd: BN statistics [G, e, K + 2, C] of the K operations (0 and 1 where one has no BN), and of the first
    stages of the separable convolutions, for each of G networks side by side, whose images follow one another. other:
    images made by the operations that are not fused, one list of e for each.
    """

    state: Tensor
    most: Tensor
    average: Tensor
    index: Tensor
    first: Sequence[Tensor]
    second: Sequence[Tensor]
    reduced: Tensor | None
    mean: Tensor
    rstd: Tensor
    other: Sequence[Sequence[Tensor]]

    def of(self, networks: slice) -> "Visit":
        """What some of the networks read (for which nothing but the nodes' inputs is needed)."""
        groups = len(self.mean)
        if networks == slice(0, groups):
            return self
        images = len(self.state) // groups
        part = slice(networks.start * images, networks.stop * images)
        return Visit(
            self.state[part],
            self.most[part],
            self.average[part],
            self.index[part],
            [y[:, part] for y in self.first],
            [y[:, part] for y in self.second],
            None if self.reduced is None else self.reduced[:, part],
            self.mean[networks],
            self.rstd[networks],
            [[y[part] for y in outputs] for outputs in self.other],
        )


class Brought(NamedTuple):
    """An input of a cell [G·N, H, W, I], brought to its channels: the state [G·N, h, w, C], normalised, and the BN
    statistics [G, 1, C] of what the convolutions made."""

    source: Tensor
    state: Tensor
    mean: Tensor
    rstd: Tensor


@dataclass(frozen=True)
class CellPlan:
    """What a cell computes. `others`: the operations that are not fused."""

    operations: tuple[str, ...]
    steps: int
    multiplier: int
    reduction: bool

    @cached_property
    def others(self) -> tuple[str, ...]:
        return tuple(name for name in self.operations if name not in FUSED)

    @property
    def states(self) -> int:
        """All states: the inputs and the nodes."""
        return self.steps + INPUTS

    def stride(self, source: int) -> int:
        """Stride of the edges that leave a state."""
        return 2 if self.reduction and source < INPUTS else 1

    def targets(self, source: int) -> range:
        """The nodes that these edges lead to."""
        return targets(source, self.steps)

    def rows(self, source: int) -> slice:
        """Where these edges stand among all."""
        return self._rows[source]

    @cached_property
    def _rows(self) -> list[slice]:
        counts = [len(self.targets(source)) for source in range(self.states - 1)]
        return [slice(end - count, end) for end, count in zip(accumulate(counts), counts, strict=True)]

    @cached_property
    def columns(self) -> list[tuple[str, int] | None]:
        """Where the K + 2 columns of a table of BN statistics come from: which of the pools, skip connections, first or
        second stages; None: no BN."""
        places: dict[str, tuple[str, int]] = {MAX: ("pool", 0), AVERAGE: ("pool", 1), SKIP: ("skip", 0)}
        for i, kind in enumerate(FIRST):
            places[kind.operation] = ("second" if i < len(SECOND) else "first", i)
        return [*(places.get(name) for name in self.operations), *(("first", s) for s in range(len(SECOND)))]

    def norms(self, source: int, batch: bool) -> list[int]:
        """How the K operations on an edge from this state are normalised, for mixed_sum."""
        plain = {*self.others, *((SKIP,) if self.stride(source) == 1 else ())}
        return [Norm.NONE if name in plain else Norm.BATCH if batch else Norm.FIXED for name in self.operations]

    def outputs(self, source: int, visit: Visit) -> list[Sequence[Tensor]]:
        """For each operation, its output on every edge from this state, as images."""
        edges = len(self.targets(source))
        found: dict[str, Sequence[Tensor]] = {
            MAX: [images(visit.most)] * edges,
            AVERAGE: [images(visit.average)] * edges,
            SKIP: [images(visit.state)] * edges if visit.reduced is None else images(visit.reduced).unbind(0),
        }
        ends = (*visit.second, *visit.first[len(SECOND) :])
        for kind, y in zip(FIRST, ends, strict=True):
            found[kind.operation] = images(y).unbind(0)
        found.update(zip(self.others, visit.other, strict=True))
        return [found[name] for name in self.operations]


def images(x: Tensor) -> Tensor:
    """[..., H, W, C] → [..., C, H, W], the same memory."""
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x.permute(0, 1, 4, 2, 3)


def pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] → dense [N, H, W, C]; the same memory where `x` is in channels_last order."""
    return x.permute(0, 2, 3, 1).contiguous()
