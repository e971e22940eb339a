"""Parameters and multiply-accumulates against recorded values, the flop counter and a real backward pass."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_genotypes import genotype
from torch.utils.flop_counter import FlopCounterMode

from ddarts.network.counting import network_cost
from ddarts.network.model import DerivedNetwork
from ddarts.network.registry import architecture
from ddarts.runtime.errors import UsageError
from ddarts.space.stems import stem_for

ROWS = json.loads((Path(__file__).parents[2] / "data_files" / "params_macs.json").read_text())["rows"]
FACTS = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet": (1000, 224)}


def counted(row, wiring):
    """What our network of a recorded row costs."""
    derivation = "paper" if row["derivation"] == "none" else row["derivation"]
    classes, side = FACTS[row["dataset"]]
    return network_cost(
        architecture(row["genotype"], row["layers"], derivation),
        classes,
        row["init_channels"],
        stem=stem_for(row["dataset"]),
        wiring=wiring,
        image_size=side,
    )


def test_all_recorded_rows_are_there():
    assert len(ROWS) == 91


@pytest.mark.parametrize("name", sorted({row["genotype"] for row in ROWS}))
def test_recorded_costs_are_reproduced_exactly(name):
    # The recorded Xception was counted with the published wiring, which leaves an edge of the middle cells out.
    wiring = "published" if name == "baseline_Xception" else "increasing"
    for row in (row for row in ROWS if row["genotype"] == name):
        found = counted(row, wiring)
        expected = (row["params"], row["params_auxiliary"], row["macs"])
        assert (found.params, found.params_auxiliary, found.macs) == expected, row


def test_the_wiring_changes_no_parameter_but_computes_one_edge_more_in_each_middle_cell():
    row = next(row for row in ROWS if row["genotype"] == "baseline_Xception" and row["init_channels"] == 36)
    ours, published = counted(row, "increasing"), counted(row, "published")
    assert ours.params == published.params
    channels, pixels = 36 * 4, 8 * 8  # behind two reductions
    assert ours.macs - published.macs == 8 * 2 * pixels * (9 * channels + channels * channels)


@pytest.mark.parametrize("name", ["baseline_ResNet18", "baseline_ResNet50", "baseline_InceptionV4"])
def test_a_chain_costs_what_the_baseline_costs_and_has_hardly_an_idle_parameter(name):
    written, chain = (network_cost(architecture(name), 10, 8, wiring=wiring) for wiring in ("increasing", "chain"))
    assert (chain.params, chain.macs) == (written.params, written.macs)
    assert written.params_without_gradient > 2 * chain.params_without_gradient


def test_macs_agree_with_the_flop_counter():
    made = architecture("D-DARTS_threshold_edge_cifar10_0.85_50")
    model = DerivedNetwork(made, 10, 8).eval()
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
    assert network_cost(made, 10, 8).macs == flops.get_total_flops() // 2


@pytest.mark.parametrize(
    ("arch", "channels", "stem", "side", "classes", "recorded"),
    [  # counted with thop 0.0.31 on these networks
        ("DD-4", 36, "cifar", 32, 10, 947_835_072),
        ("DO-ResNet50", 8, "cifar", 32, 10, 57_254_016),
        ("ResNet18_cifar100_threshold_sparse_0.85", 8, "imagenet", 224, 1000, 141_758_848),
        ("DD-cifar100", 16, "imagenet", 224, 1000, 209_653_248),
    ],
)
def test_thops_figure_is_reproduced(arch, channels, stem, side, classes, recorded):
    found = network_cost(architecture(arch), classes, channels, stem=stem, image_size=side)
    assert found.macs_thop == recorded


@pytest.mark.parametrize("wiring", ["published", "increasing", "chain"])
@pytest.mark.parametrize("arch", ["DD-cifar100", "baseline_ResNet50", "baseline_Xception"])
def test_parameters_without_gradient_are_those_a_backward_pass_leaves_out(arch, wiring):
    model = DerivedNetwork(architecture(arch), 5, 4, wiring=wiring)
    model.eval()(torch.randn(1, 3, 16, 16)).sum().backward()
    left_out = sum(p.numel() for p in model.parameters() if p.grad is None)
    found = network_cost(architecture(arch), 5, 4, wiring=wiring, image_size=16)
    assert found.params_without_gradient == left_out > 0


def test_a_cell_that_no_later_cell_reads_has_no_gradient():
    reads_both = (("sep_conv_3x3", 2, 0), ("sep_conv_3x3", 2, 1))
    reads_first = (("sep_conv_3x3", 2, 0),)
    made = genotype(reads_both, reads_both, reads_first)  # the last cell reads cell 0, and nobody reads cell 1
    model = DerivedNetwork(made, 5, 4)
    dead = sum(p.numel() for p in [*model.cells[1].parameters(), *model.cells[2].preprocess1.parameters()])
    assert network_cost(made, 5, 4).params_without_gradient == dead > 0


def test_counting_touches_no_random_generator_and_handles_networks_without_reductions():
    before = torch.get_rng_state()
    found = network_cost(genotype((("skip_connect", 2, 1),)), 5, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert found.params_auxiliary is None and found.macs_auxiliary is None


def test_a_network_wider_than_the_memory_is_counted_and_one_wider_than_64_bits_is_refused():
    made = architecture("DD-cifar10")
    wide, narrow = network_cost(made, 10, 10**6), network_cost(made, 10, 10**3)
    assert 0.99 < wide.macs / narrow.macs / 10**6 < 1  # in proportion to the square, almost
    with pytest.raises(UsageError, match="--init_channels 1000000: with 40 reductions") as caught:
        cell = (("skip_connect", 2, 0),)
        network_cost(replace(genotype(*[cell] * 40), reductions=tuple(range(40))), 10, 10**6)
    assert "\n" not in str(caught.value)
