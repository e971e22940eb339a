"""The fused search network computes what the reference does, in float64, whatever is asked of it.

Shapes: N batch, C channels, H, W pixels, E edges, K operations.
"""

import copy
import re

import pytest
import torch
from torch.nn import functional as F

from ddarts.ops import staging
from ddarts.space.primitives import DARTOPTI, DDARTS, Space
from ddarts.space.topology import num_edges
from ddarts.supernet import fused as fused_module
from ddarts.supernet import network as network_module
from ddarts.supernet.fused import FusedCell
from ddarts.supernet.network import EXECUTIONS, SearchNetwork, frozen_statistics, steady_weights

STEPS = 3
FORWARD, GRADIENT = 1e-10, 1e-9
# N, C, H, W
SHAPES = [(3, 2, 6, 6), (1, 4, 5, 7), (2, 6, 7, 4), (2, 2, 2, 2)]


@pytest.fixture
def not_fused(monkeypatch):
    """Fails a test in which a cell is executed in fused form."""
    monkeypatch.delattr(FusedCell, "execute")


def off(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest expected entry or to one."""
    return ((actual - expected).abs().max() / expected.abs().max().clamp_min(1)).item()


def cells(space=DDARTS, channels=4, **options):
    """A reference and a fused cell with the same weights and (odd) running statistics."""
    details = {"reduction": False, "after_reduction": False, **options}
    made = [EXECUTIONS[name](space, STEPS, 2, (4, 6), channels, **details).double() for name in ("reference", "fused")]
    for name, value in made[0].named_buffers():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    made[1].load_state_dict(made[0].state_dict())
    return made


def inputs(space=DDARTS, shape=SHAPES[0]):
    """States of 4 and 6 channels and mixing weights."""
    images, _, height, width = shape
    states = [torch.randn(images, c, height, width, dtype=torch.float64) for c in (4, 6)]
    return [*states, torch.rand(num_edges(STEPS), len(space), dtype=torch.float64)]


def output_and_gradients(cell, arguments):
    """(output, gradients of states, mixing weights and parameters, of one fixed random slope)."""
    leaves = [x.clone().requires_grad_() for x in arguments]
    out = cell(*leaves)
    slope = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return out.detach(), torch.autograd.grad(out, [*leaves, *cell.parameters()], slope)


def assert_same(one, other, arguments):
    (out, gradients), (expected, wanted) = (output_and_gradients(cell, arguments) for cell in (other, one))
    assert off(out, expected) <= FORWARD
    for found, gradient in zip(gradients, wanted, strict=True):
        assert off(found, gradient) <= GRADIENT
    for name, value in one.state_dict().items():
        assert off(other.state_dict()[name], value) <= FORWARD, name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_cell_and_its_gradients(shape, reduction, training):
    reference, fused = (cell.train(training) for cell in cells(channels=shape[1], reduction=reduction))
    assert_same(reference, fused, inputs(shape=shape))


@pytest.mark.parametrize("reduction", [False, True])
def test_a_cell_of_the_larger_space(reduction):
    reference, fused = cells(DARTOPTI, reduction=reduction)
    assert_same(reference, fused, inputs(DARTOPTI))
    assert_same(reference.eval(), fused.eval(), inputs(DARTOPTI))


def test_a_cell_after_a_reduction():
    reference, fused = cells(after_reduction=True)
    first, *rest = inputs()
    assert_same(reference, fused, [F.interpolate(first, scale_factor=2), *rest])


def test_what_is_not_fused_runs_as_the_reference_does():
    small = Space("small", ("skip_connect", "sep_conv_3x3"))
    reference, fused = cells(small)
    assert_same(reference, fused, inputs(small))
    reference, fused = cells()
    arguments, keep = inputs(), (torch.rand(num_edges(STEPS), len(DDARTS)) < 0.4).tolist()
    assert torch.equal(reference(*arguments, keep), fused(*arguments, keep))
    halves = [x.float() for x in arguments]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(reference.float()(*halves), fused.float()(*halves))
    halves = [x.bfloat16() for x in arguments]
    assert torch.equal(reference.bfloat16()(*halves), fused.bfloat16()(*halves))


def test_parameters_made_in_inference_mode_are_run_as_the_reference_does(not_fused):
    with torch.inference_mode():
        reference, fused = (cell.eval() for cell in cells())
    arguments = inputs()
    with torch.no_grad():
        assert torch.equal(reference(*arguments), fused(*arguments))


SETTINGS = {
    "evaluation": lambda norm: norm.eval(),
    "momentum": lambda norm: setattr(norm, "momentum", 0.5),
    "eps": lambda norm: setattr(norm, "eps", 0.1),
    "statistics": lambda norm: setattr(norm, "track_running_stats", False),
}


@pytest.mark.parametrize("change", SETTINGS.values(), ids=SETTINGS)
def test_norms_that_differ_are_run_as_the_reference_does(change, not_fused):
    one, other = cells()
    for cell in (one, other):
        change(cell._ops[3][1][1])  # behind a pool
    assert_same(one, other, inputs())


def test_a_cumulative_average_is_run_as_the_reference_does(not_fused):
    one, other = cells()
    for module in (*one.modules(), *other.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    assert_same(one, other, inputs())


def test_norms_that_agree_again_are_fused(monkeypatch):
    one, other = cells()
    for cell in (one, other):
        cell._ops[2].eval()
        for module in cell.train().modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum, module.eps = 0.3, 0.1
    calls = []
    execute = FusedCell.execute
    monkeypatch.setattr(FusedCell, "execute", lambda *arguments: calls.append(1) or execute(*arguments))
    assert_same(one, other, inputs())
    assert calls == [1]


def test_meta_tensors_tell_the_shape():
    for cell in cells():
        out = cell.to("meta")(*(x.to("meta") for x in inputs()))
        assert out.device.type == "meta" and out.shape == (3, 8, 6, 6)


@pytest.mark.parametrize("shape", [(9,), (8, 7), (9, 6), (1, 9, 7)])
def test_mixing_weights_of_another_shape_are_refused(shape):
    for cell in cells():
        with pytest.raises(ValueError, match=re.escape(f"weights is {list(shape)}; it must be [9, 7]")):
            cell(*inputs()[:2], torch.rand(shape, dtype=torch.float64))


@pytest.mark.parametrize("space", [DDARTS, DARTOPTI], ids=lambda space: space.name)
def test_only_what_is_asked_for_is_differentiated(space, monkeypatch):
    asked = []
    original = fused_module.Backward.run

    def spy(self, grad, wanted):
        asked.append((list(wanted.inputs), wanted.mixing, wanted.parameters))
        return original(self, grad, wanted)

    monkeypatch.setattr(fused_module.Backward, "run", spy)
    states_and_weights, found = inputs(space), []
    for cell in cells(space, reduction=True):
        s0, s1, alphas = (x.clone().requires_grad_() for x in states_and_weights)
        loss = cell(s0 * 1, s1 * 1, alphas.sigmoid()).square().sum()
        parameters = list(cell.parameters())
        asks = ([alphas], [s1], parameters, [s0, alphas])
        found.append([g for ask in asks for g in torch.autograd.grad(loss, ask, retain_graph=True)])
    for gradient, expected in zip(found[1], found[0], strict=True):
        assert off(gradient, expected) <= GRADIENT
    assert asked == [
        ([False, False], True, False),
        ([False, True], False, False),
        ([False, False], False, True),
        ([True, False], True, False),
    ]


def test_without_gradients_nothing_is_kept_and_the_stacks_follow_the_parameters():
    reference, fused = cells()
    arguments = inputs()
    for _ in range(3):
        with torch.no_grad():
            for cell in (reference, fused):
                assert not cell(*arguments).requires_grad
            assert off(fused(*arguments), reference(*arguments)) <= FORWARD
            fused.hold_weights(True)
            first = fused._read()
            assert all(one is other for one, other in zip(first, fused._read(), strict=True))
            assert off(fused(*arguments), reference(*arguments)) <= FORWARD
            fused.hold_weights(False)
            for one, other in zip(reference.parameters(), fused.parameters(), strict=True):
                other.copy_(one.normal_())


def test_passes_with_gradients_follow_the_parameters_however_they_change():
    reference, fused = cells()
    for change in (lambda p: p.mul_(1.5), lambda p: p.data.mul_(0.5), lambda p: p.detach().add_(0.01)):
        assert_same(reference, fused, inputs())
        for cell in (reference, fused):
            for parameter in cell.parameters():
                with torch.no_grad():
                    change(parameter)
    assert_same(reference, fused, inputs())


def test_statistics_move_only_where_they_are_tracked():
    reference, fused = cells()
    arguments = inputs()
    before = copy.deepcopy(fused.state_dict())
    with frozen_statistics(fused):
        frozen = fused(*arguments)
    assert all(torch.equal(value, before[name]) for name, value in fused.state_dict().items())
    assert torch.equal(fused(*arguments), frozen)
    reference(*arguments)
    counters = [value for name, value in fused.state_dict().items() if name.endswith("num_batches_tracked")]
    assert all(value == 1 for value in counters)
    for name, value in reference.state_dict().items():
        assert off(fused.state_dict()[name], value) <= FORWARD, name


def test_one_value_a_channel_is_refused_in_training():
    _, fused = cells(reduction=True)
    states = [x[:1, :, :2, :2] for x in inputs()[:2]]
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fused(*states, inputs()[2])


def test_the_networks_share_state_dictionaries_and_copies_compute_the_same():
    networks = [
        SearchNetwork(DDARTS, num_classes=10, init_channels=2, layers=3, steps=2, multiplier=2, execution=name).double()
        for name in EXECUTIONS
    ]
    networks[1].load_state_dict(networks[0].state_dict())
    assert list(networks[0].state_dict()) == list(networks[1].state_dict())
    images, weights = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.rand(3, 5, 7, dtype=torch.float64)
    expected = networks[0](images, weights)
    twin = copy.deepcopy(networks[1])
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.zero_()
    assert off(twin(images, weights), expected) <= FORWARD


@pytest.mark.parametrize("space", [DDARTS, DARTOPTI], ids=lambda space: space.name)
@pytest.mark.parametrize("first", [[0, 1, 2, 3], [1, 3], [2]], ids=str)
def test_ablated_networks_run_side_by_side(space, first, monkeypatch):
    """As one after the other from the stem, in both executions, with cells of all kinds."""
    monkeypatch.setattr(network_module, "SIDE_BY_SIDE", 3)
    networks = [
        SearchNetwork(
            space, num_classes=3, init_channels=2, layers=4, steps=2, multiplier=2, reductions=(1, 2), execution=name
        ).double()
        for name in EXECUTIONS
    ]
    networks[1].load_state_dict(networks[0].state_dict())
    images, kinds = torch.randn(3, 3, 9, 7, dtype=torch.float64), len(space)
    weights = torch.rand(4, 5, kinds, dtype=torch.float64)
    mixed = weights.repeat(len(first), 1, 1, 1)
    for group, place in enumerate(first):
        mixed[group, place:] = torch.rand(4 - place, 5, kinds, dtype=torch.float64)
    for network in networks:
        with frozen_statistics(network):
            alone = torch.stack([network(images, each) for each in mixed])
            states = []
            network.resume(network.start(images), weights, 0, record=states)
            with torch.no_grad(), steady_weights(network):
                assert off(network.ablated(states, mixed, first), alone) <= FORWARD
    with torch.no_grad():
        assert off(alone, torch.stack([networks[0].eval()(images, each) for each in mixed])) > 1e-3
        evaluated = [networks[0](images, each) for each in mixed]
        network, states = networks[1].eval(), []
        network.load_state_dict(networks[0].state_dict())
        network.resume(network.start(images), weights, 0, record=states)
        assert off(network.ablated(states, mixed, first), torch.stack(evaluated)) <= FORWARD


def test_ablated_networks_reuse_what_is_known_of_their_input_states(monkeypatch):
    """Of a cell and the one behind it, what the whole network made of the states that ablation left as they were."""
    network = SearchNetwork(DDARTS, num_classes=3, init_channels=4, layers=3, execution="fused").double()
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    weights = torch.rand(3, 14, 7, dtype=torch.float64)
    ablated = torch.cat([weights[:1], torch.rand(1, 14, 7, dtype=torch.float64), weights[2:]])
    calls = []
    real = staging.Runner.__call__
    monkeypatch.setattr(staging.Runner, "__call__", lambda self, op, *rest: calls.append(op) or real(self, op, *rest))
    with frozen_statistics(network):
        states = []
        network.resume(network.start(images), weights, 0, record=states)
        with torch.no_grad(), steady_weights(network):
            calls.clear()
            short = network.ablated(states, ablated[None], [1])
            assert calls.count("pools") == 3 + 4  # the nodes of cell 1; of cell 2 all states but the first
        with torch.no_grad():
            calls.clear()
            whole = network(images, ablated)
            assert calls.count("pools") == 3 * 5
    assert torch.equal(short[0], whole)
    with torch.no_grad(), frozen_statistics(network):  # nothing is known any more once the weights may change
        for parameter in network.cells[1].parameters():
            parameter.mul_(-1)
        copied = [tuple(state.clone() for state in pair) for pair in states]
        assert torch.equal(network.ablated(states, ablated[None], [1]), network.ablated(copied, ablated[None], [1]))
