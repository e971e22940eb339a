"""The published iteration, naively: one retained-graph backward pass per cell, everything left in `.grad` buffers.

Written from what the published program was observed to do, as the yardstick of the `official` recipe. Nothing of the
package's search code is used here but the network.
"""

import torch
from torch.nn import functional as F


def zero_one(alpha: torch.Tensor) -> torch.Tensor:
    return -((torch.sigmoid(alpha) - 0.5) ** 2).mean()


class PublishedLoop:
    def __init__(self, network, alphas: torch.Tensor, sequence=None) -> None:
        self.network = network
        self.sequence = sequence or range(len(alphas))
        self.alphas = [a.clone().requires_grad_() for a in alphas]
        self.alpha_optimizers = [
            torch.optim.Adam([a], lr=3e-3, betas=(0.9, 0.999), weight_decay=1e-3) for a in self.alphas
        ]
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9, weight_decay=3e-4)
        self.norm = None

    def loss(self, batch) -> torch.Tensor:
        # A copy of α enters the graph, so that stepping one cell does not disturb the retained graph of the others.
        copies = [torch.sigmoid(a.clone()) for a in self.alphas]
        weights = torch.stack([copies[cell] for cell in self.sequence])
        return F.cross_entropy(self.network(batch[0], weights), batch[1])

    def architecture_step(self, batch) -> None:
        shared = self.loss(batch)
        for alpha, optimizer in zip(self.alphas, self.alpha_optimizers, strict=True):
            shared.backward(retain_graph=True)
            (9.0 * zero_one(alpha)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

    def weight_step(self, batch) -> None:
        overall = torch.stack([zero_one(a) for a in self.alphas]).mean()
        (self.loss(batch) + 9.0 * overall).backward()
        self.norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
