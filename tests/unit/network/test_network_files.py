"""Trained networks in one file: weights and what they belong to."""

import json

import pytest
import torch
from made_genotypes import PLAIN, genotype

from ddarts.network.model import DerivedNetwork
from ddarts.network.trained import load_model
from ddarts.network.weights import fill, read_network, save_network
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.weights import load_weights, save_weights


@pytest.fixture
def trained(three_cells):
    """A network whose statistics have moved."""
    model = DerivedNetwork(three_cells, 5, 4, auxiliary=True)
    model(torch.randn(8, 3, 8, 8))
    return model.eval()


def test_a_saved_network_comes_back_whole(trained, tmp_path):
    save_network(tmp_path / "net.safetensors", trained, "digits", "cycle")
    weights, description = read_network(tmp_path / "net.safetensors")
    assert (description.genotype, description.num_classes, description.init_channels) == (trained.genotype, 5, 4)
    assert (description.dataset, description.derivation, description.auxiliary) == ("digits", "cycle", True)
    assert weights.keys() == trained.state_dict().keys()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(load_model(tmp_path / "net.safetensors")(x), trained(x))


@pytest.mark.parametrize("wiring", ["published", "chain"])
def test_shared_cells_stem_and_wiring_travel_too(tmp_path, wiring):
    made = genotype(PLAIN, reductions=(1,), sequence=(0, 0))
    model = DerivedNetwork(made, 5, 4, stem="imagenet", wiring=wiring).eval()
    save_network(tmp_path / "net.safetensors", model)
    back = load_model(tmp_path / "net.safetensors")
    assert (back.genotype, back.stem_name, back.wiring) == (made, "imagenet", wiring)


def test_names_do_not_depend_on_the_order_of_genes(tmp_path, trained, three_cells):
    save_network(tmp_path / "net.safetensors", trained)
    turned = genotype(*(tuple(reversed(PLAIN)) for _ in range(3)), reductions=(1,))
    model = DerivedNetwork(turned, 5, 4).eval()
    fill(model, read_network(tmp_path / "net.safetensors")[0], "net")
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(x), trained(x))


def test_weights_of_another_network_are_refused_and_nothing_is_loaded(trained, three_cells):
    model = DerivedNetwork(three_cells, 7, 4)
    before = model.stem.conv.weight.clone()
    with pytest.raises(DdartsError, match=r"net: .*7 classes: 2 wrong shape \(classifier.weight is \[5, 16\]"):
        fill(model, trained.state_dict(), "net")
    assert torch.equal(model.stem.conv.weight, before)


def test_a_description_that_cannot_be_read_is_refused(trained, tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(path, trained)
    weights, metadata = load_weights(path)
    evil = json.loads(metadata["genotype"])
    evil["cells"][1][0][0] = "rm_rf"
    cases = [
        ({"genotype": json.dumps(evil)}, "cell 1: node 2: unknown operation 'rm_rf'"),
        ({"genotype": "{"}, "cannot be read"),
        ({"init_channels": "many"}, "cannot be read"),
        ({"stem": "oak"}, "unknown stem 'oak'"),
    ]
    for change, message in cases:
        save_weights(path, weights, {**metadata, **change})
        with pytest.raises(DdartsError, match=message):
            load_model(path)
    save_weights(path, weights, {})
    with pytest.raises(DdartsError, match="name it with --arch"):
        load_model(path)
