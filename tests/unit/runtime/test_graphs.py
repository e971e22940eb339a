"""Captured forward passes, with a stand-in for CUDA graphs: the same function on fixed buffers."""

import pytest
import torch
from torch import nn

from ddarts.runtime.graphs import GraphedForward


class Graphs:
    """What torch.cuda.make_graphed_callables does, on the CPU: some passes to warm up, then the same memory for every
    call, and the network's forward replaced."""

    def __init__(self):
        self.captured, self.replayed = 0, 0

    def __call__(self, network, sample):
        plain, (buffer,) = network.forward, sample
        for _ in range(3):
            plain(buffer)
        self.captured += 1

        def replay(images):
            self.replayed += 1
            with torch.no_grad():
                buffer.copy_(images)
            return plain(buffer)

        network.forward = replay
        return replay


class Noisy(nn.Module):
    """Has statistics, draws random numbers, and decides by an attribute."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.noisy = nn.Linear(3, 2), nn.BatchNorm1d(2), False

    def forward(self, x):
        y = self.norm(self.linear(x))
        return y * torch.rand(len(x), 1) if self.noisy else y


@pytest.fixture
def twins():
    """The same network twice."""
    plain, graphed = Noisy(), Noisy()
    graphed.load_state_dict(plain.state_dict())
    return plain, graphed


def test_steps_are_those_of_the_network_and_odd_batches_are_not_captured(twins):
    plain, network = twins
    graphs = Graphs()
    forward = GraphedForward(network, lambda: network.noisy, graphs)
    optimizers = [torch.optim.SGD(module.parameters(), 0.1) for module in twins]
    for size, noisy in ((4, False), (4, False), (2, False), (4, True), (4, True), (2, True), (4, False)):
        plain.noisy = network.noisy = noisy
        images = torch.randn(size, 3)
        losses = []
        for run, optimizer in zip((plain, forward), optimizers, strict=True):
            torch.manual_seed(size)
            losses.append(run(images).square().sum())
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        assert torch.equal(*losses)
    assert (graphs.captured, graphs.replayed) == (3, 5)
    for name, value in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_capturing_changes_neither_statistics_nor_generators_nor_the_network(twins):
    _, network = twins
    network.noisy = True
    before, generator = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    GraphedForward(network, capture=Graphs())._graph(torch.randn(4, 3, generator=torch.Generator()))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator) and "replay" not in network.forward.__qualname__


def test_what_fails_to_be_captured_leaves_the_network_as_it_was(twins):
    _, network = twins

    def fail(module, _sample):
        module.forward = None
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="capturing"):
        GraphedForward(network, capture=fail)(torch.randn(4, 3))
    assert network(torch.randn(4, 3)).shape == (4, 2) and torch.is_autocast_cache_enabled()
