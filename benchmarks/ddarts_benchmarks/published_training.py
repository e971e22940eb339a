"""The published training of a derived network in plain torch, as it was published: what ours is compared with.

Every edge is a module that runs by itself, a node Python's sum of them; images and weights are contiguous; the loss and
two accuracies come back to the host after every step. Modules and initial weights are those of ddarts/network; nothing
else of the product is used.

Legend: N images, K classes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddarts.network.cell import DerivedCell
from ddarts.network.model import DerivedNetwork

SGD: dict[str, Any] = {"momentum": 0.9, "weight_decay": 3e-4}
AUXILIARY, CLIP = 0.4, 5.0


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Some images' x is left out, the others' grows."""
    keep = 1 - probability
    mask = torch.empty(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
    return x.div(keep).mul(mask)


def cell(module: DerivedCell, s0: Tensor, s1: Tensor, probability: float) -> Tensor:
    """One cell, edge by edge."""
    states = {0: module.preprocess0(s0), 1: module.preprocess1(s1)}
    for node, inputs in module.plan:
        total = sum(module.edges[name](states[source]) for source, name in inputs)
        states[node] = drop_path(total, probability) if probability > 0 else total
    return torch.cat([states[node] for node, _ in module.plan], dim=1)


def logits(network: DerivedNetwork, images: Tensor, probability: float) -> tuple[Tensor, Tensor | None]:
    """Logits [N, K] of both classifiers."""
    s0, s1 = network.stem(images)
    auxiliary = None
    for index, module in enumerate(network.cells):
        s0, s1 = s1, cell(cast(DerivedCell, module), s0, s1, probability)
        if network.auxiliary_head is not None and index == network.auxiliary_after:
            auxiliary = network.auxiliary_head(s1)
    return network.classifier(network.global_pooling(s1).flatten(1)), auxiliary


def accuracies(output: Tensor, labels: Tensor, ranks: Sequence[int] = (1, 5)) -> list[Tensor]:
    """Per cent of the images whose label is among the best."""
    _, best = output.topk(max(ranks), 1, True, True)
    right = best.t().eq(labels.view(1, -1).expand_as(best.t()))
    return [right[:rank].reshape(-1).float().sum(0).mul_(100 / len(labels)) for rank in ranks]


class PublishedTraining:
    """Steps of SGD as published, in float32 (or the network's own type)."""

    def __init__(self, network: DerivedNetwork, rate: float, drop_path_prob: float) -> None:
        self.network, self.drop_path_prob = network.train(), drop_path_prob
        self.optimizer = torch.optim.SGD(network.parameters(), rate, **SGD)
        self.seen: list[tuple[float, float, float]] = []

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One step; returns the loss of the main classifier."""
        self.optimizer.zero_grad()
        output, auxiliary = logits(self.network, images, self.drop_path_prob)
        loss = F.cross_entropy(output, labels)
        total = loss if auxiliary is None else loss + AUXILIARY * F.cross_entropy(auxiliary, labels)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        top1, top5 = accuracies(output, labels)
        self.seen.append((total.item(), top1.item(), top5.item()))
        return loss.item()
