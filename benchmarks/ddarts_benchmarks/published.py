"""The published search algorithm in plain torch, as it was published: the baseline that everything is faster than.

Every edge computes every operation by itself, pools included; a mixed edge is Python's sum of weight times output, a
node Python's sum of its edges. One iteration costs about 29 forward passes: nine forwards with graphs for the marginal
contributions of eight cells, one forward and eight whole backwards for α, one forward and backward for the weights.
Modules and initial weights are those of supernet/reference.py; nothing else of the search is used.

Legend: E edges, K operations, L cells.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from ddarts.space.topology import edges, nodes
from ddarts.supernet.network import SearchNetwork
from ddarts.supernet.reference import Keep, MixedEdge, SearchCell

Batch = tuple[Tensor, Tensor]
ZERO_ONE, ABLATION = 9.0, 0.7  # weights of the two losses
CLIP = 5.0  # largest norm of the weights' gradient
ADAM: dict[str, Any] = {"lr": 3e-3, "betas": (0.9, 0.999), "weight_decay": 1e-3}
SGD: dict[str, Any] = {"lr": 5e-3, "momentum": 0.9, "weight_decay": 3e-4}
# The published program's, counted by torch's profiler on a CPU (C 16, 8 cells, 7 operations, batch 16, 32x32 pixels).
ATEN_EVENTS = 647_811


def edge(operations: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
    """A mixed edge: its operations and their mixing weights [K]."""
    return cast(Tensor, sum(w * op(x) for w, op in zip(weights, operations.children(), strict=True)))


def cell(module: SearchCell, s0: Tensor, s1: Tensor, weights: Tensor) -> Tensor:
    """A cell and its mixing weights [E, K]."""
    states = [module.preprocess0(s0), module.preprocess1(s1)]
    for node in nodes(module.steps):
        rows = [row for row, (to, _) in enumerate(edges(module.steps)) if to == node]
        made = (
            edge(cast(MixedEdge, module._ops[row])._ops, x, weights[row]) for row, x in zip(rows, states, strict=True)
        )
        states.append(cast(Tensor, sum(made)))
    return torch.cat(states[-module.multiplier :], dim=1)


class PlainCell(SearchCell):
    """A search cell executed as the published one."""

    def _run(self, s0: Tensor, s1: Tensor, weights: Tensor, keep: Keep | None) -> Tensor:
        return cell(self, s0, s1, weights)


def logits(network: SearchNetwork, images: Tensor, mixing: Sequence[Tensor]) -> Tensor:
    """The network with the mixing weights [E, K] of each of its cells."""
    s0 = s1 = network.stem(images)
    for module, weights in zip(network.cells, mixing, strict=True):
        s0, s1 = s1, cell(cast(SearchCell, module), s0, s1, weights)
    return network.classifier(F.adaptive_avg_pool2d(s1, 1).flatten(1))


def zero_one(alpha: Tensor) -> Tensor:
    """L_01 of a cell."""
    return -F.mse_loss(torch.sigmoid(alpha), torch.full_like(alpha, 0.5))


def aten_events(work: Callable[[], Any]) -> int:
    """How many operators of torch a piece of work runs on the CPU, those inside of others too."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    events = found.profiler.kineto_results.events()  # found.events() would build a million Python objects
    return sum(event.name().startswith("aten::") for event in events)


class PublishedSearch:
    """Steps of α and weights as published, gradients gathering in `.grad` buffers."""

    def __init__(self, network: SearchNetwork, alphas: Sequence[Tensor]) -> None:
        self.network = network
        self.alphas = [alpha.detach().clone().requires_grad_() for alpha in alphas]
        self.alpha_optimizers = [torch.optim.Adam([alpha], **ADAM) for alpha in self.alphas]
        self.optimizer = torch.optim.SGD(network.parameters(), **SGD)

    def iterate(self, valid: Batch, train: Batch) -> None:
        """One iteration."""
        self.architecture_step(valid)
        self.weight_step(train)

    def architecture_step(self, batch: Batch) -> None:
        """Step the α of every cell on a validation batch."""
        ablation = self._ablation_losses(batch)
        ce = self._cross_entropy(batch)
        for alpha, value, optimizer in zip(self.alphas, ablation, self.alpha_optimizers, strict=True):
            loss = ce + ZERO_ONE * zero_one(alpha) + ABLATION * value
            loss.backward(retain_graph=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)

    def weight_step(self, batch: Batch) -> float:
        """Step the weights on a training batch; returns the loss."""
        overall = sum(zero_one(alpha) for alpha in self.alphas) / len(self.alphas)
        loss = self._cross_entropy(batch) + ZERO_ONE * overall
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        return loss.item()

    def _ablation_losses(self, batch: Batch) -> list[float]:
        """L_AB of every cell, numbers: the graphs behind them are built and dropped."""
        whole = self._cross_entropy(batch).item()
        marginal = [whole - self._cross_entropy(batch, ablated=i).item() for i in range(len(self.alphas))]
        mean = sum(marginal) / len(marginal)
        return [(m - mean) / max(abs(mean), 0.01) for m in marginal]

    def _cross_entropy(self, batch: Batch, ablated: int | None = None) -> Tensor:
        """Of the network, or of that in which random numbers are the mixing weights of cell `ablated`."""
        mixing = [torch.sigmoid(alpha) for alpha in self.alphas]
        if ablated is not None:
            mixing[ablated] = torch.rand_like(mixing[ablated])
        return F.cross_entropy(logits(self.network, batch[0], mixing), batch[1])
