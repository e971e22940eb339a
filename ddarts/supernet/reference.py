"""One cell of the search network, plain: every edge computes every operation (a pool once for all edges of a state).

This is the definition that faster implementations are compared with. Module names are the published ones
(`_ops.EDGE._ops.OP`). Shapes: N batch, C channels, H, W pixels, E edges, K operations.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddarts.ops import mixed_sum
from ddarts.space.blocks import FactorizedReduce, ReLUConvBN, make_op
from ddarts.space.primitives import Space
from ddarts.space.topology import INPUTS, edges, node_edges, nodes

Keep = Sequence[Sequence[bool]]
Inputs = tuple[Tensor | None, Tensor | None]


class MixedEdge(nn.Module):
    """All K operations of one edge; the cell weighs and sums them."""

    def __init__(self, space: Space, channels: int, stride: int) -> None:
        super().__init__()
        self._ops = nn.ModuleList(
            make_op(name, channels, stride, affine=False, pool_norm=True) for name in space.operations
        )

    def __getitem__(self, operation: int) -> nn.Module:
        return self._ops[operation]


class SearchCell(nn.Module):
    """Two inputs → concatenation of the last `multiplier` nodes.

    A node is Σ over its edges e and operations k of weights[e, k]·op_k(source of e).
    """

    def __init__(
        self,
        space: Space,
        steps: int,
        multiplier: int,
        channels_in: tuple[int, int],
        channels: int,
        *,
        reduction: bool,
        after_reduction: bool,
    ) -> None:
        super().__init__()
        self.space = space
        self.steps = steps
        self.multiplier = multiplier
        preprocess0 = FactorizedReduce if after_reduction else ReLUConvBN
        self.preprocess0 = preprocess0(channels_in[0], channels, affine=False)
        self.preprocess1 = ReLUConvBN(channels_in[1], channels, affine=False)
        self._ops = nn.ModuleList(
            MixedEdge(space, channels, stride=2 if reduction and source < INPUTS else 1) for _, source in edges(steps)
        )

    def forward(self, s0: Tensor, s1: Tensor, weights: Tensor, keep: Keep | None = None) -> Tensor:
        """Outputs of the two previous cells and mixing weights [E, K] → [N, multiplier·C, H, W].

        keep [E][K] leaves out the operations marked False altogether (the discretised network).
        """
        expected = len(self._ops), len(self.space)
        if tuple(weights.shape) != expected:
            raise ValueError(f"weights is {list(weights.shape)}; it must be {list(expected)}")
        return self._run(s0, s1, weights, keep)

    def hold_weights(self, held: bool) -> None:
        """Told by network.steady_weights that the weights are constants from here on, or no longer."""

    def _run(self, s0: Tensor, s1: Tensor, weights: Tensor, keep: Keep | None) -> Tensor:
        """As forward, with weights that fit."""
        sources = [Source(self.preprocess0(s0)), Source(self.preprocess1(s1))]
        for node in nodes(self.steps):
            sources.append(Source(self._node(node, sources, weights, keep)))
        return torch.cat([source.state for source in sources[-self.multiplier :]], dim=1)

    def run_groups(self, shared: tuple[Tensor, Tensor], own: Inputs, weights: Tensor) -> Tensor:
        """G networks side by side, without gradients: mixing weights [G, E, K] → their outputs, [G·N, ...].

        Of each input state the first networks have their `own` [g·N, ...] (None: g = 0), the others read the `shared`
        one [N, ...]. BN has statistics for each network; running statistics must not be moving.
        """
        images = len(shared[0])
        parts = [() if state is None else state.split(images) for state in own]
        outputs = []
        for group, mixed in enumerate(weights):
            states = [mine[group] if group < len(mine) else other for mine, other in zip(parts, shared, strict=True)]
            outputs.append(self(*states, mixed))
        return torch.cat(outputs)

    def expect_return(self) -> None:
        """Told before a pass that run_groups may follow with the same input states (while the weights are held)."""

    def _operation(self, row: int, operation: int) -> nn.Module:
        edge = self._ops[row]
        assert isinstance(edge, MixedEdge)
        return edge[operation]

    def _node(self, node: int, sources: list["Source"], weights: Tensor, keep: Keep | None) -> Tensor:
        rows = range(*node_edges(node).indices(len(self._ops)))
        chosen = [
            (row, k, source)
            for source, row in enumerate(rows)
            for k in range(len(self.space))
            if keep is None or keep[row][k]
        ]
        if not chosen:  # a node without operations contributes nothing, in the shape of its siblings
            return torch.zeros_like(sources[0].apply(self._operation(rows[0], 0)))
        outputs = [sources[source].apply(self._operation(row, k)) for row, k, source in chosen]
        if keep is None:
            return mixed_sum(outputs, weights[rows[0] : rows[-1] + 1].flatten())
        return mixed_sum(outputs, torch.stack([weights[row, k] for row, k, _ in chosen]))


class Source:
    """A state that several edges read. Pools have no weights, so what they make of it is computed once for all edges
    of the same stride; the BN behind a pool belongs to its edge."""

    def __init__(self, state: Tensor) -> None:
        self.state = state
        self._pooled: dict[tuple, Tensor] = {}

    def apply(self, op: nn.Module) -> Tensor:
        """What the operation `op` makes of the state."""
        if not (isinstance(op, nn.Sequential) and isinstance(op[0], nn.MaxPool2d | nn.AvgPool2d)):
            return op(self.state)
        pool, norm = op
        key = type(pool), pool.stride
        if key not in self._pooled:
            self._pooled[key] = pool(self.state)
        return norm(self._pooled[key])
