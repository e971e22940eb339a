"""The search network against a direct evaluation of its definition, and the parts that the search relies on."""

import copy

import pytest
import torch

from ddarts.space.primitives import DARTOPTI, DDARTS
from ddarts.space.topology import edges, node_edges
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.network import SearchNetwork, frozen_statistics, load_published, to_published
from ddarts.supernet.reference import SearchCell


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SearchNetwork(DDARTS, num_classes=10, init_channels=2, layers=4, steps=3, multiplier=2).double()


@pytest.fixture
def inputs(network):
    weights = torch.rand(4, len(edges(3)), len(DDARTS), dtype=torch.float64)
    return torch.randn(3, 3, 8, 8, dtype=torch.float64), weights


@pytest.mark.parametrize("space", [DDARTS, DARTOPTI])
@pytest.mark.parametrize("reduction", [False, True])
def test_cell_is_the_written_sum(space, reduction):
    torch.manual_seed(0)
    cell = SearchCell(space, 3, 2, (4, 6), 4, reduction=reduction, after_reduction=False).double()
    s0, s1 = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.randn(2, 6, 8, 8, dtype=torch.float64)
    weights = torch.rand(9, len(space), dtype=torch.float64)
    states = [cell.preprocess0(s0), cell.preprocess1(s1)]
    for node in (2, 3, 4):
        total = 0
        for row in range(*node_edges(node).indices(9)):
            to, source = edges(3)[row]
            assert to == node
            for k in range(len(space)):
                total = total + weights[row, k] * cell._ops[row]._ops[k](states[source])
        states.append(total)
    expected = torch.cat(states[-2:], dim=1)
    torch.testing.assert_close(cell(s0, s1, weights), expected)
    assert expected.shape == (2, 8, 4 if reduction else 8, 4 if reduction else 8)


def test_a_mask_leaves_out_what_a_zero_weight_would(network, inputs):
    images, weights = inputs
    keep = torch.rand(weights.shape) < 0.3
    keep[1, node_edges(3)] = False  # a node without operations
    network.eval()
    masked = network(images, weights, keep.tolist())
    torch.testing.assert_close(masked, network(images, weights * keep))


def test_resuming_from_recorded_states_gives_the_same_logits(network, inputs):
    images, weights = inputs
    states = []
    whole = network.resume(network.start(images), weights, 0, record=states)
    assert len(states) == 4
    for first, pair in enumerate(states):
        assert torch.equal(network.resume(pair, weights, first), whole)


def test_frozen_statistics_stay_and_thaw(network, inputs):
    before = copy.deepcopy(network.state_dict())
    with frozen_statistics(network):
        frozen = network(*inputs)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network(*inputs), frozen)  # both use batch statistics
    assert any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_published_names_go_round(network):
    state = to_published(network.state_dict())
    assert "cells.0._ops.0._ops.3.op.1.weight" in state and "cells.2.preprocess0.conv_1.weight" in state
    other = SearchNetwork(DDARTS, num_classes=10, init_channels=2, layers=4, steps=3, multiplier=2).double()
    load_published(other, state)
    assert all(torch.equal(value, state[name]) for name, value in to_published(other.state_dict()).items())


@pytest.mark.parametrize("spoil", ["missing", "unexpected", "of another shape"])
def test_weights_of_another_network_are_refused(network, spoil):
    state = dict(to_published(network.state_dict()))
    if spoil == "missing":
        del state["stem.0.weight"]
    elif spoil == "unexpected":
        state["cells.9.weight"] = torch.zeros(1)
    else:
        state["classifier.weight"] = torch.zeros(3, 3)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=f"1 weights {spoil}"):
        load_published(network, state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_shared_sets_give_shared_rows_and_summed_gradients():
    alphas = Alphas([0, 1, 0], edges=5, operations=7)
    with torch.no_grad():
        alphas.logits.normal_()
    weights = alphas.per_position(alphas.mixing())
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])
    weights[0].sum().backward(retain_graph=True)
    once = alphas.logits.grad.clone()
    alphas.logits.grad = None
    weights.sum().backward()
    torch.testing.assert_close(alphas.logits.grad[0], 2 * once[0])
    assert alphas.positions(0) == (0, 2) and alphas.sets == 2


def test_an_unknown_execution_names_the_allowed_ones():
    with pytest.raises(ValueError, match="execution is 'foo'; allowed are reference, fused"):
        SearchNetwork(DDARTS, num_classes=10, init_channels=2, layers=3, execution="foo")
