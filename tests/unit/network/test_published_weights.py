"""Reading published checkpoints: the network that comes out computes what the published one does with those weights."""

import os

import pytest
import torch
from made_genotypes import genotype
from published_layout import forward, layout

from ddarts.genotype.zoo import resolve
from ddarts.network.model import DerivedNetwork
from ddarts.network.published import load_published
from ddarts.runtime.errors import DdartsError, UsageError


def network(made, *, channels=4, stem="cifar", wiring="published", auxiliary=False, classes=10):
    """An untrained network."""
    return DerivedNetwork(made, classes, channels, auxiliary, stem, wiring=wiring).eval()


def saved(path, state, **more):
    """A file as the published training writes it."""
    torch.save({"epoch": 600, "best_acc_top1": 97.3, "state_dict": state, **more}, path)
    return path


@pytest.mark.parametrize(
    ("arch", "stem", "side"),
    [
        ("D-DARTS_threshold_edge_abl0.5_fair7_cifar100_0.85_50", "cifar", 32),
        ("ResNet50_cifar10_threshold_sparse_0.85", "cifar", 32),
        ("ResNet18_cifar100_threshold_sparse_0.85", "imagenet", 64),
        ("Xception_cifar10_threshold_edge_0.85", "cifar", 32),
        ("baseline_InceptionV4", "cifar", 16),  # its genes name the nodes out of order
        ("baseline_Xception", "cifar", 32),
    ],
)
def test_a_published_checkpoint_computes_what_it_did(arch, stem, side, tmp_path):
    made = resolve(arch)
    state = layout(made, 10, 4, stem)
    model = network(made, stem=stem)
    load_published(model, saved(tmp_path / "model_best.pth.tar", state))
    x = torch.randn(2, 3, side, side)
    torch.testing.assert_close(model(x), forward(state, made, x, stem), rtol=1e-4, atol=1e-4)


def test_ours_and_the_published_wiring_agree_where_no_node_comes_out_of_order(tmp_path):
    made = resolve("DD-cifar10")
    state = layout(made, 10, 4)
    model = network(made, wiring="increasing")
    load_published(model, saved(tmp_path / "m.pth.tar", state))
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(x), forward(state, made, x), rtol=1e-4, atol=1e-4)


def test_several_gpus_counters_and_a_bare_dictionary(tmp_path):
    made = resolve("DD-cifar10")
    state = layout(made, 10, 4)
    counters = {"total_ops": torch.zeros(1), "cells.0.total_params": torch.zeros(1)}
    torch.save({f"module.{name}": value for name, value in {**state, **counters}.items()}, tmp_path / "bare.pth.tar")
    model = network(made)
    load_published(model, tmp_path / "bare.pth.tar")
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(model(x), forward(state, made, x), rtol=1e-4, atol=1e-4)


def test_the_auxiliary_head_is_read_where_there_is_one(tmp_path):
    made = resolve("DD-cifar10")
    state = layout(made, 10, 4)
    model = network(made, auxiliary=True)
    load_published(model, saved(tmp_path / "m.pth.tar", state))
    assert torch.equal(model.auxiliary_head.layers[3].weight, state["auxiliary_head.features.5.weight"])
    assert torch.equal(model.auxiliary_head.classifier.bias, state["auxiliary_head.classifier.bias"])


def test_cells_of_two_edges_a_node_are_numbered_through(tmp_path):
    genes = [("sep_conv_3x3", 2, 1), ("dil_conv_3x3", 2, 0), ("sep_conv_3x3", 3, 0), ("sep_conv_3x3", 3, 1)]
    made = genotype(genes, genes, genes, reductions=(1,), steps=2)
    flat = layout(made, 10, 4, flat=True)
    model = network(made)
    load_published(model, saved(tmp_path / "darts.pth.tar", flat))
    assert torch.equal(model.cells[2].edges["1_to_3_sep_conv_3x3"].op[5].weight, flat["cells.2._ops.3.op.5.weight"])
    assert torch.equal(model.cells[0].edges["0_to_2_dil_conv_3x3"].op[2].weight, flat["cells.0._ops.1.op.2.weight"])


def test_another_order_of_nodes_is_refused_unless_asked_for(tmp_path):
    made = resolve("baseline_InceptionV4")
    path = saved(tmp_path / "m.pth.tar", layout(made, 10, 4))
    with pytest.raises(DdartsError, match="cell 0 .*--baseline_wiring published"):
        load_published(network(made, wiring="increasing"), path)


def broken(state, kind):
    """`state` with something wrong in it."""
    state = dict(state)
    if kind == "missing":
        del state["cells.3.preprocess1.op.1.weight"]
    elif kind == "unexpected":
        state["cells.3._ops.9.9.9.op.1.weight"] = torch.zeros(1)
    else:
        state["classifier.weight"] = torch.zeros(100, 3)
    return state


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"1 missing \(cells\.3\.preprocess1\.op\.1\.weight\)"),
        ("unexpected", r"1 unexpected \(cells\.3\._ops\.9\.9\.9\.op\.1\.weight\)"),
        ("shape", r"1 wrong shape \(classifier\.weight is \[100, 3\] instead of \[10, 64\]\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name_and_nothing_is_loaded(kind, message, tmp_path):
    made = resolve("DD-cifar10")
    path = saved(tmp_path / "m.pth.tar", broken(layout(made, 10, 4), kind))
    model = network(made)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DdartsError, match=message) as caught:
        load_published(model, path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_of_many_wrong_names_the_first_few_are_shown(tmp_path):
    path = saved(tmp_path / "m.pth.tar", layout(resolve("DD-cifar100"), 10, 4))
    with pytest.raises(DdartsError, match=r"'DD-cifar10' with 8 cells.* missing \(.*, …\)") as caught:
        load_published(network(resolve("DD-cifar10")), path)
    assert len(str(caught.value)) < 900


class Canary:
    """Would make a folder if it were ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_checkpoint_runs_nothing(tmp_path):
    made = resolve("DD-cifar10")
    path = saved(tmp_path / "evil.pth.tar", layout(made, 10, 4), canary=Canary(tmp_path / "ran"))
    with pytest.raises(DdartsError, match="nothing in it was run"):
        load_published(network(made), path)
    assert not (tmp_path / "ran").exists()
    function, arguments = Canary(tmp_path / "ran").__reduce__()
    function(*arguments)  # the canary does sing where it is run
    assert (tmp_path / "ran").is_dir()


def test_what_is_not_a_checkpoint_gets_a_message_of_its_own(tmp_path):
    model = network(resolve("DD-cifar10"))
    pointer = tmp_path / "pointer.pth.tar"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 428057894\n")
    torch.save([1, 2], tmp_path / "list.pth.tar")
    (tmp_path / "noise.pth.tar").write_bytes(b"\x00" * 64)
    cases = {
        "pointer.pth.tar": (DdartsError, "Git LFS pointer.*git lfs pull"),
        "list.pth.tar": (DdartsError, "holds no weights"),
        "noise.pth.tar": (DdartsError, "noise.pth.tar"),
        "absent.pth.tar": (UsageError, "no such file"),
    }
    for name, (kind, message) in cases.items():
        with pytest.raises(kind, match=message):
            load_published(model, tmp_path / name)
