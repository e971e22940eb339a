"""One cell of a derived network. Legend: N batch, C channels of a node, H, W pixels."""

import torch
from torch import Tensor, nn

from ddarts.genotype.schema import Cell, Gene
from ddarts.network.drop_path import drop_path
from ddarts.network.fused import FusedCell
from ddarts.network.wiring import built, plan
from ddarts.space.blocks import FactorizedReduce, ReLUConvBN, make_op
from ddarts.space.topology import INPUTS


def edge_name(gene: Gene) -> str:
    """Name of a gene's module within its cell. It says what the weights belong to, whatever the order of genes."""
    return f"{gene.source}_to_{gene.to}_{gene.op}"


class DerivedCell(nn.Module):
    """The operations of one genotype cell: node sums, concatenated (article, section 3.3).

    channels_in: channels of the outputs of the last cell but one and of the last cell.
    channels: C of every node. reduction: this cell halves H and W (stride 2 on edges from states 0 and 1).
    halve_first: its first input is twice as large as its second, because the previous cell was a reduction.
    """

    def __init__(
        self,
        genes: Cell,
        channels_in: tuple[int, int],
        channels: int,
        *,
        reduction: bool,
        halve_first: bool,
        wiring: str = "increasing",
    ) -> None:
        super().__init__()
        first = FactorizedReduce if halve_first else ReLUConvBN
        self.preprocess0 = first(channels_in[0], channels, affine=True)
        self.preprocess1 = ReLUConvBN(channels_in[1], channels, affine=True)
        steps = plan(genes, wiring)
        self.edges = nn.ModuleDict()
        for gene in built(genes, wiring):
            stride = 2 if reduction and gene.source < INPUTS else 1
            self.edges[edge_name(gene)] = make_op(gene.op, channels, stride, affine=True, pool_norm=False)
        self.plan = tuple((node, tuple((gene.source, edge_name(gene)) for gene in inputs)) for node, inputs in steps)
        self.channels_out = channels * len(self.plan)
        used = {gene: self.edges[edge_name(gene)] for _, inputs in steps for gene in inputs}
        self.fused = FusedCell(steps, used)
        self.fuses = False  # see DerivedNetwork.fuse

    def forward(self, before_last: Tensor, last: Tensor, keep: Tensor | None = None) -> Tensor:
        """Outputs of the two previous cells → [N, C · nodes, H, W]. keep: probability that a node's sum survives."""
        states = {0: self.preprocess0(before_last), 1: self.preprocess1(last)}
        if self.fuses and self.fused.takes(states[0]):
            return torch.cat(self.fused.forward(states[0], states[1], keep), dim=1)
        for node, inputs in self.plan:
            terms = [self.edges[name](states[source]) for source, name in inputs]
            total: Tensor = terms[0]
            for term in terms[1:]:
                total = total + term
            states[node] = total if keep is None else drop_path(total, keep)
        return torch.cat([states[node] for node, _ in self.plan], dim=1)
