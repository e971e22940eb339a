"""Fused cells of derived networks: the same function and gradients as the modules compute by themselves."""

import copy

import pytest
import torch
from made_genotypes import PLAIN, genotype
from torch import nn
from torch.nn import functional as F

from ddarts.network import fused
from ddarts.network.cell import DerivedCell
from ddarts.network.execution import choose, exact_channels_last
from ddarts.network.model import DerivedNetwork
from ddarts.ops import use_backend
from ddarts.train.step import Stepper
from tests.tolerances import FORWARD, GRADIENT, assert_as_accurate, assert_close

# Several operations on an edge, each kind of operation, a pool that two nodes read, branches of a state to one node.
RICH = (
    *(("sep_conv_3x3", 2, 0), ("sep_conv_5x5", 2, 0), ("max_pool_3x3", 2, 1), ("dil_conv_3x3", 2, 1)),
    *(("max_pool_3x3", 3, 1), ("dil_conv_5x5", 3, 0), ("skip_connect", 3, 2), ("simple_conv_3x3", 3, 2)),
    *(("sep_conv_5x5", 4, 3), ("avg_pool_3x3", 4, 2), ("sep_conv_7x7", 4, 2), ("skip_connect", 4, 0)),
    *(("max_pool_3x3", 5, 4), ("avg_pool_3x3", 5, 4)),
)
SPARSE = (("dil_conv_5x5", 2, 1), ("max_pool_3x3", 3, 2))


def network(*cells, **options):
    """A network of these cells whose BN weights are of both signs, tiny, and zero."""
    torch.manual_seed(0)
    made = genotype(*cells, reductions=(1,))
    model = DerivedNetwork(made, 5, 6, auxiliary=True, **options).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.normal_(module.bias)
            with torch.no_grad():
                module.weight[:2] = torch.tensor([0.0, -1e-6])
    return model


def results(model, images, seed=3):
    """Logits, gradients of parameters and images, and buffers after a pass."""
    torch.manual_seed(seed)  # drop-path
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    logits, auxiliary = model(images)
    labels = torch.arange(len(images)) % 5
    (F.cross_entropy(logits, labels) + 0.4 * F.cross_entropy(auxiliary, labels)).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"logits": logits.detach(), "images": images.grad, **gradients, **dict(model.named_buffers())}


def images(dtype=torch.float64, layout=torch.channels_last):
    """Four images of an odd size."""
    return torch.randn(4, 3, 11, 9, dtype=dtype).to(memory_format=layout)


def count_calls(monkeypatch):
    """How often cells run fused."""
    calls = []
    right = fused.FusedCell.forward
    monkeypatch.setattr(fused.FusedCell, "forward", lambda *given: calls.append(1) or right(*given))
    return calls


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("cells", [(RICH, RICH, RICH), (SPARSE, PLAIN, SPARSE)])
def test_a_fused_network_computes_what_its_modules_do(cells, layout, monkeypatch):
    plain = network(*cells, drop_path_prob=0.3).double().to(memory_format=layout)
    ours = copy.deepcopy(plain)
    ours.fuse()
    calls = count_calls(monkeypatch)
    given = images(layout=layout)
    wanted, found = results(plain, given), results(ours, given)
    assert len(calls) == 3 and wanted.keys() == found.keys()
    for name, value in wanted.items():
        if value is None:
            assert found[name] is None, name
        elif value.is_floating_point():
            assert_close(found[name], value, 1e-8)
        else:
            assert torch.equal(found[name], value), name


@pytest.mark.parametrize("reduction", [False, True])
def test_a_fused_cell_is_as_accurate_as_torch_in_float32(reduction):
    torch.manual_seed(1)
    genes = genotype(RICH).cells[0]
    cell = DerivedCell(genes, (6, 10), 8, reduction=reduction, halve_first=False).to(memory_format=torch.channels_last)
    states = [torch.randn(4, channels, 10, 12).to(memory_format=torch.channels_last) for channels in (6, 10)]
    slope = torch.randn(cell(*states).shape)

    def run(module, dtype, fuses):
        module = copy.deepcopy(module).to(dtype)
        module.fuses = fuses
        leaves = [state.to(dtype).requires_grad_() for state in states]
        out = module(*leaves)
        parameters = dict(module.named_parameters())
        gradients = torch.autograd.grad(out, [*leaves, *parameters.values()], slope.to(dtype))
        return out, dict(zip(("s0", "s1", *parameters), gradients, strict=True))

    wanted, eager, ours = (
        run(cell, torch.float64, False),
        run(cell, torch.float32, False),
        run(cell, torch.float32, True),
    )
    assert_as_accurate(ours[0], eager[0], wanted[0], FORWARD, "output")
    for name, value in wanted[1].items():
        # Gradients of kernels in front of a BN cancel; what is left is rounding of the size of the slopes.
        assert_as_accurate(ours[1][name], eager[1][name], value, GRADIENT, name, scale=8 * value.abs().max().item())


def test_bf16_gradients_are_those_of_float32_up_to_rounding():
    """In channels-last order, where torch's own are wrong for dilated convolutions."""
    cell = DerivedCell(genotype(SPARSE).cells[0], (8, 8), 16, reduction=False, halve_first=False)
    cell.to(memory_format=torch.channels_last).fuses = True
    states = [torch.randn(4, 8, 32, 32).to(memory_format=torch.channels_last) for _ in range(2)]
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = cell(*states)
        assert out.dtype == (torch.bfloat16 if enabled else torch.float32)
        weight = cell.edges["1_to_2_dil_conv_5x5"].op[1].weight
        found.append(torch.autograd.grad(out.float().square().sum(), weight)[0])
    assert (found[1] - found[0]).norm() < 0.05 * found[0].norm()


def test_steps_end_in_the_same_weights(monkeypatch):
    """Fused SGD reads gradients as if they lay in memory like the weights: those of a fused cell must."""
    plain = network(RICH, PLAIN).double().to(memory_format=torch.channels_last)
    ours = copy.deepcopy(plain)
    ours.fuse()
    batches = [(images(), torch.randint(5, (4,))) for _ in range(3)]
    losses = []
    for model in (plain, ours):
        optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9, fused=True)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        options = {"label_smoothing": 0.1, "auxiliary_weight": 0.4, "grad_clip": 5.0}
        stepper = Stepper(model, model, optimizer, scaler, torch.enable_grad, **options)
        losses.append([stepper.step(*batch, number).loss.item() for number, batch in enumerate(batches)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-8)
    for (name, wanted), found in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-6, atol=1e-9), name


def test_frozen_weights_get_no_gradient_and_states_still_do():
    plain = network(RICH, RICH).double()
    plain.cells[1].requires_grad_(False)
    ours = copy.deepcopy(plain)
    ours.fuse()
    given = images()
    wanted, found = results(plain, given), results(ours, given)
    for name in ("stem.conv.weight", "cells.0.edges.0_to_2_sep_conv_3x3.op.1.weight"):
        assert_close(found[name], wanted[name], 1e-8)
    assert all(parameter.grad is None for parameter in ours.cells[1].parameters())


@pytest.mark.parametrize("change", [lambda norm: norm.eval(), lambda norm: setattr(norm, "momentum", None)])
def test_what_does_not_fit_runs_module_by_module(change, monkeypatch):
    model = network(RICH, RICH).double()
    change(model.cells[0].edges["0_to_2_sep_conv_3x3"].op[3])
    twin, given = copy.deepcopy(model), images()
    model.fuse()
    calls = count_calls(monkeypatch)
    assert_close(model(given)[0], twin(given)[0], 1e-8)
    assert len(calls) == 1  # the second cell
    assert model.eval()(given).shape == (4, 5) and len(calls) == 1


def test_a_model_keeps_its_parameters_names_and_exports():
    model = network(RICH, PLAIN)
    names = list(model.state_dict())
    model.fuse()
    assert list(model.state_dict()) == names and not any("fused" in name for name, _ in model.named_modules())
    given = torch.randn(2, 3, 16, 16)
    program = torch.export.export(model.eval(), (given,))
    assert torch.equal(program.module()(given), model(given))


def test_where_fused_execution_is_chosen():
    rich, dense = genotype(RICH), genotype((("simple_conv_3x3", 2, 0),))
    cpu = torch.device("cpu")
    assert choose(rich, cpu, compiled=False) == ("fused", None)
    assert choose(rich, cpu, compiled=True) == ("plain", "--compile fuses by itself")
    assert choose(rich, torch.device("cuda"), compiled=False) == ("plain", "the fused one is not tuned for cuda")
    assert choose(dense, cpu, compiled=False)[1] == "there are no separable convolutions to fuse"
    with use_backend("reference"):
        assert choose(rich, cpu, compiled=False)[1] == "the fused one needs the compiled operators"
    assert [exact_channels_last(g, e) for g, e in ((rich, "fused"), (rich, "plain"), (dense, "plain"))] == [1, 0, 1]
