"""Where a derived network's numbers stop being finite: the message names cell, edge and operation."""

import pytest
import torch

from ddarts.network.diagnose import first_not_finite, naming_operation
from ddarts.network.model import DerivedNetwork
from ddarts.runtime.errors import DivergedError


def test_cell_edge_and_operation_are_named(three_cells):
    model, images = DerivedNetwork(three_cells, 5, 4, auxiliary=True), torch.randn(4, 3, 8, 8)
    assert first_not_finite(model, images) is None
    assert first_not_finite(model, images * float("nan")) == "the images of the batch"
    handle = model.cells[1].edges["0_to_3_dil_conv_5x5"].register_forward_hook(lambda *call: call[2] / 0)
    assert first_not_finite(model, images) == "cell 1, edge 3 ← 0, dil_conv_5x5"
    model.cells[1].preprocess1.register_forward_hook(lambda *call: call[2] / 0)
    assert first_not_finite(model, images) == "cell 1, preprocess1"
    handle.remove()
    with torch.no_grad():
        model.classifier.bias[2] = float("inf")
    assert first_not_finite(model, images) == "a weight of the classifier"


def test_a_network_that_trains_fused_is_searched_module_by_module(three_cells):
    model = DerivedNetwork(three_cells, 5, 4)
    model.fuse()
    model.cells[2].edges["0_to_2_sep_conv_3x3"].register_forward_hook(lambda *call: call[2] / 0)
    assert first_not_finite(model, torch.randn(4, 3, 8, 8)) == "cell 2, edge 2 ← 0, sep_conv_3x3"


def test_a_divergence_is_told_where_it_began_and_other_errors_pass(three_cells):
    model, images = DerivedNetwork(three_cells, 5, 4), torch.randn(2, 3, 8, 8)
    for blamed, text in ((images / 0, r"^step 3 \(first in the images of the batch\)$"), (images, "^step 3$")):
        with pytest.raises(DivergedError, match=text), naming_operation(model, blamed):
            raise DivergedError("step 3")
    with pytest.raises(ValueError), naming_operation(model, images):
        raise ValueError
