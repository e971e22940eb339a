"""A small search that any number of ranks runs on shares of the same batches."""

import torch

from ddarts.runtime.ranks.engines import TorchEngine
from ddarts.search.iteration import Iteration
from ddarts.search.recipes import RECIPES, LossWeights
from ddarts.space.primitives import DDARTS
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.network import SearchNetwork

CELLS, STEPS, EDGES, IMAGES = 3, 2, 5, 16
CLIP = 1.0


def network_of(dtype=torch.float64):
    torch.manual_seed(5)
    sizes = {"num_classes": 4, "init_channels": 2, "layers": CELLS, "steps": STEPS, "multiplier": 2}
    return SearchNetwork(DDARTS, **sizes).to(dtype)


def iteration_of(network, group=None, recipe="paper", scale=None, engine=None, **options):
    """engine(network, optimizer): another engine than torch's."""
    alphas = Alphas(range(CELLS), EDGES, len(DDARTS)).to(next(network.parameters()).dtype)
    with torch.no_grad():
        alphas.logits.copy_(torch.linspace(-1, 1, alphas.logits.numel()).view_as(alphas.logits))
    sgd = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam([alphas.logits], lr=0.05, weight_decay=1e-3)
    rule = RECIPES[recipe](CELLS, LossWeights(zero_one=9.0, ablation=0.7))
    if engine is None:
        weights = TorchEngine(network, sgd, grad_clip=CLIP, group=group, scale=scale)
    else:
        weights = engine(network, sgd)
    return Iteration(network, alphas, adam, weights, rule, seed=2, group=group, **options)


def batch_of(number, rank=0, size=1, dtype=torch.float64):
    """The rank's share of a batch."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(IMAGES, 3, 8, 8, dtype=torch.float64, generator=generator).to(dtype)
    labels = torch.randint(0, 4, (IMAGES,), generator=generator)
    return images.chunk(size)[rank], labels.chunk(size)[rank]


def run(iteration, rank=0, size=1, single_level=False, steps=2, batches=batch_of):
    """What `steps` iterations see."""
    seen = []
    for step in range(steps):
        valid, train = (batches(2 * step + which, rank, size) for which in (0, 1))
        if single_level:
            architecture, weights = iteration.joint_step(train, step)
        else:
            architecture, weights = iteration.architecture_step(valid, step), iteration.weight_step(train, step)
        seen.append(torch.stack([architecture.ce, weights.ce, weights.gradient_norm, *architecture.found.marginal]))
    return torch.stack(seen)
