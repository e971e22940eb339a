"""Derived networks: what is built, which shapes come out, and what gets a gradient."""

import pytest
import torch
from made_genotypes import PLAIN, genotype
from torch import nn

from ddarts.genotype import zoo
from ddarts.genotype.liveness import chained
from ddarts.network.auxiliary import AuxiliaryHead
from ddarts.network.cell import DerivedCell
from ddarts.network.drop_path import drop_path
from ddarts.network.model import DerivedNetwork
from ddarts.network.registry import channels, create_model, list_models
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space.blocks import FactorizedReduce, ReLUConvBN
from ddarts.space.stems import make_stem, stem_for

BUILDABLE = [entry.name for entry in zoo.entries() if entry.problem is None and entry.alias_of is None]


def cell(*genes, reduction=False, halve_first=False, channels=4, inputs=(6, 10)):
    """A cell with the given genes."""
    made = genotype(genes).cells[0]
    return DerivedCell(made, inputs, channels, reduction=reduction, halve_first=halve_first)


@pytest.mark.parametrize("name", BUILDABLE)
def test_every_zoo_genotype_runs_forward_and_backward(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=7, init_channels=4, auxiliary=True)
    logits, auxiliary = model(torch.randn(2, 3, 16, 16))
    assert logits.shape == auxiliary.shape == (2, 7)
    (logits.sum() + auxiliary.sum()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.stem.conv.weight.grad.abs().sum() > 0
    assert model.eval()(torch.randn(1, 3, 16, 16)).shape == (1, 7)


def test_a_cell_is_as_wide_as_it_has_nodes():
    two_nodes = cell(("skip_connect", 2, 0), ("skip_connect", 5, 1), channels=4)
    assert two_nodes.channels_out == 8
    assert two_nodes(torch.randn(1, 6, 8, 8), torch.randn(1, 10, 8, 8)).shape == (1, 8, 8, 8)


def test_edges_that_leave_a_missing_node_are_dropped():
    made = cell(("skip_connect", 3, 0), ("sep_conv_3x3", 3, 2), ("skip_connect", 4, 3))
    assert list(made.edges) == ["0_to_3_skip_connect", "3_to_4_skip_connect"]
    assert made.channels_out == 2 * 4


def test_nodes_are_computed_and_concatenated_by_increasing_index():
    made = cell(("skip_connect", 3, 2), ("skip_connect", 2, 0), ("skip_connect", 3, 1), channels=4)
    first, second = torch.randn(1, 6, 8, 8), torch.randn(1, 10, 8, 8)
    made.eval()
    a, b = made.preprocess0(first), made.preprocess1(second)
    torch.testing.assert_close(made(first, second), torch.cat([a, a + b], dim=1))


def test_several_operations_on_an_edge_are_summed():
    made = cell(("skip_connect", 2, 0), ("avg_pool_3x3", 2, 0), channels=4).eval()
    first, second = torch.randn(1, 6, 8, 8), torch.randn(1, 10, 8, 8)
    a = made.preprocess0(first)
    pooled = nn.functional.avg_pool2d(a, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(made(first, second), a + pooled)


def test_a_reduction_cell_halves_edges_from_its_inputs_only():
    made = cell(("skip_connect", 2, 0), ("max_pool_3x3", 2, 1), ("skip_connect", 3, 2), reduction=True)
    assert isinstance(made.edges["0_to_2_skip_connect"], FactorizedReduce)
    assert isinstance(made.edges["2_to_3_skip_connect"], nn.Identity)
    assert made(torch.randn(1, 6, 8, 8), torch.randn(1, 10, 8, 8)).shape == (1, 8, 4, 4)


def test_the_cell_after_a_reduction_halves_its_first_input(three_cells):
    model = DerivedNetwork(three_cells, 5, 4)
    kinds = [type(made.preprocess0) for made in model.cells]
    assert kinds == [ReLUConvBN, ReLUConvBN, FactorizedReduce]
    assert [made.channels_out for made in model.cells] == [8, 16, 16]


def test_pools_have_no_bn_and_bn_has_weights(three_cells):
    model = DerivedNetwork(three_cells, 5, 4)
    pools = [made.edges["2_to_3_max_pool_3x3"] for made in model.cells]
    assert all(type(pool) is nn.MaxPool2d for pool in pools)
    assert all(module.affine for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def test_positions_that_share_a_cell_have_weights_of_their_own():
    model = DerivedNetwork(genotype(PLAIN, sequence=(0, 0)), 5, 4)
    first, second = (made.edges["0_to_2_sep_conv_3x3"].op[1].weight for made in model.cells)
    assert len(model.cells) == 2 and first is not second


def test_published_wiring_skips_edges_from_later_nodes_and_keeps_their_order():
    genes = (("skip_connect", 3, 0), ("sep_conv_3x3", 3, 2), ("skip_connect", 2, 1))
    made = DerivedCell(
        genotype(genes).cells[0], (6, 10), 4, reduction=False, halve_first=False, wiring="published"
    ).eval()
    first, second = torch.randn(1, 6, 8, 8), torch.randn(1, 10, 8, 8)
    expected = torch.cat([made.preprocess0(first), made.preprocess1(second)], dim=1)
    torch.testing.assert_close(made(first, second), expected)
    assert "2_to_3_sep_conv_3x3" in made.edges  # its weights exist, as in a published checkpoint


def test_chain_reads_the_previous_cell_and_keeps_all_edges():
    made = zoo.resolve("baseline_InceptionV4")
    model = DerivedNetwork(made, 5, 2, wiring="chain").eval()
    written = DerivedNetwork(chained(made), 5, 2).eval()  # the same, with the edges written in the genotype
    written.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 16, 16)
    assert torch.equal(model(images), written(images))
    assert [len(cell.edges) for cell in model.cells] == [len(made.position(i)) for i in range(made.layers)]
    model(images).sum().backward()
    idle = {name.split(".")[2] for name, p in model.named_parameters() if p.grad is None}
    assert idle == {"preprocess0"}  # nobody reads state 0, and nothing else is idle


def test_chain_leaves_a_cell_alone_that_reads_the_previous_one():
    made = genotype(PLAIN, PLAIN, PLAIN[:1])
    first, second, third = DerivedNetwork(made, 5, 4, wiring="chain").cells
    assert {"0_to_2_sep_conv_3x3", "1_to_2_skip_connect"} <= set(first.edges) == set(second.edges)
    assert set(third.edges) == {"1_to_2_sep_conv_3x3"}


# --- drop-path --------------------------------------------------------------------------------------------------


def test_drop_path_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(20_000, 2, 2, 2)
    dropped = drop_path(x, torch.tensor(0.8))
    per_image = dropped.flatten(1)
    assert (per_image == per_image[:, :1]).all()
    assert per_image[:, 0].unique().tolist() == [0.0, pytest.approx(1.25)]
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)  # standard error 0.0035


def test_drop_path_acts_on_each_node_in_training_only(three_cells):
    torch.manual_seed(0)
    model = DerivedNetwork(three_cells, 5, 4, drop_path_prob=0.5)
    made, keep = model.cells[0], torch.tensor(0.5)
    images = torch.randn(64, 12, 8, 8)
    out = made(images, images, keep)
    halves = out[:, :4].flatten(1).abs().sum(1) == 0, out[:, 4:].flatten(1).abs().sum(1) == 0
    assert all(10 < half.sum() < 54 for half in halves) and not torch.equal(*halves)
    model.eval()
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    model.drop_path_prob = 0.0
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_probability_outside_its_range_is_refused(three_cells, value):
    with pytest.raises(UsageError, match="drop_path_prob"):
        DerivedNetwork(three_cells, 5, 4, drop_path_prob=value)


def test_a_changing_drop_path_probability_does_not_compile_again(three_cells):
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    model = DerivedNetwork(three_cells, 5, 4)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for probability in (0.1, 0.2, 0.3):
        model.drop_path_prob = probability
        compiled(torch.randn(2, 3, 8, 8))
    assert counter.frame_count == 1


# --- stems, auxiliary head --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("cifar", [(1, 24, 64, 64), (1, 24, 64, 64)]),
        ("imagenet", [(1, 8, 32, 32), (1, 8, 16, 16)]),
        ("darts", [(1, 8, 16, 16), (1, 8, 8, 8)]),
    ],
)
def test_stems_give_two_states(name, states):
    stem = make_stem(name, 8)
    found = stem(torch.randn(1, 3, 64, 64))
    assert [tuple(state.shape) for state in found] == states
    assert tuple(state.shape[1] for state in found) == stem.channels_out


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 14), ("darts", 7)])
def test_networks_behind_the_imagenet_stems_run(stem, side):
    model = create_model("DD-cifar10", init_channels=4, stem=stem, auxiliary=True, num_classes=3)
    sides = []
    model.cells[-1].register_forward_hook(lambda _module, _inputs, output: sides.append(output.shape[-1]))
    logits, auxiliary = model(torch.randn(2, 3, 224, 224))
    assert logits.shape == auxiliary.shape == (2, 3) and sides == [side]
    assert isinstance(model.cells[0].preprocess0, FactorizedReduce)


def test_which_stem_a_data_set_gets():
    assert stem_for("folder") == "cifar" and stem_for("folder", "published") == "imagenet"
    assert stem_for("folder", "darts") == "darts"
    assert stem_for("cifar10") == stem_for("digits", "darts") == "cifar"
    assert stem_for("imagenet") == "imagenet" and stem_for("imagenet", "darts") == "darts"


@pytest.mark.parametrize(("side", "stride", "exact"), [(8, 3, True), (7, 2, True), (4, 3, False), (14, 2, False)])
def test_the_auxiliary_head_pools_to_two_by_two(side, stride, exact):
    head = AuxiliaryHead(6, 10, stride)
    x = torch.randn(2, 6, side, side)
    assert head.pool(x).shape == (2, 6, 2, 2) and head(x).shape == (2, 10)
    if exact:
        assert torch.equal(head.pool(x), nn.functional.avg_pool2d(x, 5, stride, count_include_pad=False))
    else:
        assert torch.equal(head.pool(x), nn.functional.adaptive_avg_pool2d(x, 2))


def test_the_auxiliary_head_follows_the_last_reduction_cell():
    made = genotype(PLAIN, PLAIN, PLAIN, PLAIN, reductions=(0, 2))
    model = DerivedNetwork(made, 5, 4, auxiliary=True)
    assert model.auxiliary_after == 2
    assert model.auxiliary_head.layers[0].in_channels == model.cells[2].channels_out == 32
    assert isinstance(model.eval()(torch.randn(1, 3, 8, 8)), torch.Tensor)


# --- what is refused --------------------------------------------------------------------------------------------


def test_what_cannot_be_built_is_refused_in_one_line(three_cells):
    cases = [
        (lambda: DerivedNetwork(genotype(PLAIN), 5, 4, auxiliary=True), UsageError, "--auxiliary.*no reduction cell"),
        (lambda: DerivedNetwork(three_cells, 5, 0), UsageError, "--init_channels 0"),
        (lambda: DerivedNetwork(three_cells, 0, 4), UsageError, "0 classes"),
        (lambda: DerivedNetwork(three_cells, 5, 5, stem="imagenet"), UsageError, "--init_channels 5.*even"),
        (lambda: DerivedNetwork(three_cells, 5, 4, stem="vgg"), UsageError, "unknown stem 'vgg'"),
        (lambda: DerivedNetwork(three_cells, 5, 4, wiring="odd"), UsageError, "--baseline_wiring odd"),
        (lambda: DerivedNetwork(genotype(()), 5, 4), DdartsError, "cell 0: is empty"),
        (lambda: create_model("DD-cifar10", pretrained=True), DdartsError, "no trained weights"),
        (lambda: create_model("no-such-net"), UsageError, "unknown architecture"),
        (lambda: create_model("DD-cifar10", layers=3), UsageError, "cannot have fewer"),
    ]
    for build, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            build()
        assert "\n" not in str(caught.value)


def test_a_node_without_an_input_under_published_wiring_names_its_cell():
    genes = (("skip_connect", 3, 2), ("skip_connect", 2, 0))
    with pytest.raises(DdartsError, match="cell 1: node 3"):
        DerivedNetwork(genotype(PLAIN, genes), 5, 4, wiring="published")


# --- the registry -----------------------------------------------------------------------------------------------


def test_models_are_listed_and_made_by_name():
    assert {"DD-4", "baseline_ResNet18", *BUILDABLE} <= set(list_models())
    model = create_model("DD-4")  # the article's network: 14 cells, 36 channels
    assert len(model.cells) == 14 and sum(p.numel() for p in model.parameters()) == 6_280_822
    assert create_model("ResNet18_cifar10_threshold_sparse_0.85").init_channels == 64


def test_a_model_is_made_of_a_genotype_and_of_a_file(three_cells, tmp_path):
    from ddarts.genotype.files import write

    path = write(three_cells, tmp_path / "mine.json")
    made = [create_model(source, init_channels=4).state_dict().keys() for source in (three_cells, path, str(path))]
    assert made[0] == made[1] == made[2]


def test_channels_are_those_asked_for_or_of_the_article_or_64():
    assert channels("DD-4") == 36 and channels("DD-4", 16) == 16
    assert channels("D-DARTS_threshold_edge_cifar10_0.85_50") == 64
