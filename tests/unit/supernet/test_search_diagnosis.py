"""Where a search network's numbers stop being finite: the message names cell, edge and operation."""

import pytest
import torch

from ddarts.runtime.errors import DivergedError
from ddarts.runtime.ranks.engines import TorchEngine
from ddarts.search.iteration import Iteration
from ddarts.search.recipes import RECIPES, LossWeights
from ddarts.space.primitives import DDARTS
from ddarts.space.topology import num_edges
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.diagnose import first_not_finite
from ddarts.supernet.network import SearchNetwork


@pytest.fixture(params=["reference", "fused"])
def network(request):
    return SearchNetwork(
        DDARTS, num_classes=10, init_channels=2, layers=3, steps=3, multiplier=2, execution=request.param
    )


@pytest.fixture
def inputs():
    return torch.randn(4, 3, 8, 8), torch.rand(3, num_edges(3), len(DDARTS))


def test_what_is_finite_is_not_blamed_and_nothing_is_moved(network, inputs):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert first_not_finite(network, *inputs) is None
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("row", "edge"), [(0, "2 ← 0"), (4, "3 ← 2"), (8, "4 ← 3")])
@pytest.mark.parametrize("operation", [0, 3])
def test_the_operation_that_puts_it_out_is_named(network, inputs, row, edge, operation):
    network.cells[1]._ops[row]._ops[operation].register_forward_hook(lambda *call: call[2] * float("nan"))
    network.cells[2]._ops[0]._ops[0].register_forward_hook(lambda *call: call[2] * float("nan"))  # later: not the cause
    norm = network.cells[1]._ops[row]._ops[operation][1] if operation == 0 else None
    if norm is not None:  # a pool and its normalisation are called one by one
        norm.register_forward_hook(lambda *call: call[2] * float("nan"))
    assert first_not_finite(network, *inputs) == f"cell 1, edge {edge}, {DDARTS.operations[operation]}"


def test_images_alphas_weights_and_stem_are_told_apart(network, inputs):
    images, weights = inputs
    assert first_not_finite(network, images * float("inf"), weights) == "the images of the batch"
    assert first_not_finite(network, images, weights.index_fill(0, torch.tensor(2), float("nan"))) == "α of cell 2"
    with torch.no_grad():
        network.stem[0].weight.fill_(3e38)
        assert first_not_finite(network, images, weights) == "the stem"
        network.cells[2]._ops[5]._ops[4].op[1].weight.view(-1)[0] = float("nan")
    assert first_not_finite(network, images, weights) == "a weight of cell 2, edge 4 ← 0, sep_conv_5x5"


def test_an_iteration_names_it(network, inputs):
    alphas = Alphas(range(3), num_edges(3), len(DDARTS))
    engine = TorchEngine(network, torch.optim.SGD(network.parameters(), 0.1), grad_clip=5.0)
    recipe = RECIPES["paper"](3, LossWeights(9.0, 0.7))
    iteration = Iteration(network, alphas, torch.optim.Adam([alphas.logits]), engine, recipe, seed=0)
    with torch.no_grad():
        network.cells[1]._ops[4]._ops[3].op[1].weight.view(-1)[0] = float("inf")
    for step in (iteration.weight_step, iteration.architecture_step):
        with pytest.raises(
            DivergedError, match=r"first in a weight of cell 1, edge 3 ← 2, sep_conv_3x3\); nothing was"
        ):
            step((inputs[0], torch.arange(4)), 7)
