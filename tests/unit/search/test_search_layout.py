"""What a search network is made of, with a baseline and without; what α start from; who shares them."""

import numpy as np
import pytest
import torch

from ddarts.config import SearchConfig
from ddarts.genotype import files, zoo
from ddarts.genotype.parse import parse
from ddarts.genotype.schema import Gene, Genotype
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.search.build import build_searcher
from ddarts.search.layout import layout_of
from ddarts.space.primitives import DARTOPTI, DDARTS
from ddarts.space.topology import edges

CPU = torch.device("cpu")
BASELINES = ("ResNet18", "ResNet50", "Xception", "InceptionV4")


def layout(**options):
    return layout_of(SearchConfig(**options))


def test_without_a_baseline_every_position_has_alphas_of_its_own_that_start_at_0():
    found = layout(layers=7, steps=3, multiplier=2)
    assert (found.space, found.steps, found.multiplier, found.layers) == (DDARTS, 3, 2, 7)
    assert (found.reductions, found.shared, found.baseline) == ((2, 4), None, None)
    assert found.start().shape == (7, 9, 7) and not found.start().any()


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_brings_cells_steps_reductions_and_the_start_of_alpha(name):
    found, baseline = layout(arch_baseline=name), zoo.baseline(name)
    assert (found.space, found.steps, found.multiplier) == (DARTOPTI, baseline.steps, 4)
    assert (found.reductions, found.sequence) == (baseline.reductions, baseline.sequence)
    start = found.start()
    assert start.shape == (len(baseline.cells), len(edges(baseline.steps)), 12)
    assert set(start.unique().tolist()) == {0.0, 10.0}
    cells = parse(torch.sigmoid(start).numpy(), DARTOPTI, baseline.steps, "threshold_complete")
    assert [set(cell) for cell in cells] == [set(cell) for cell in baseline.cells]


def test_a_chain_starts_from_the_previous_cell():
    plain, chain = (layout(arch_baseline="ResNet18", baseline_wiring=w).start()[0] for w in ("published", "chain"))
    from_first, from_second = ([i for i, (_, source) in enumerate(edges(4)) if source == state] for state in (0, 1))
    assert plain[from_first].any() and not plain[from_second].any()
    assert torch.equal(chain[from_second], plain[from_first]) and not chain[from_first].any()


def write(folder, *cells, name="Mine", **details):
    made = Genotype(name, "dartopti", 2, (2, 3), (1,), tuple(tuple(map(Gene._make, cell)) for cell in cells), **details)
    files.write(made, folder / f"{name}.json")
    return made


def test_a_baseline_of_the_user_is_found_by_name_and_checked(tmp_path):
    made = write(tmp_path, [("skip_connect", 2, 0)], [("sep_conv_3x3", 3, 1)], sequence=(0, 1, 1))
    found = layout(arch_baseline="Mine", baselines=str(tmp_path), multiplier=2)
    assert found.baseline == made and found.shared == (0, 1, 1)
    with pytest.raises(UsageError, match="--multiplier 4: must be at most .* which is 2 in Mine"):
        layout(arch_baseline="Mine", baselines=str(tmp_path))
    with pytest.raises(UsageError, match="'Yours': use one of InceptionV4, Mine, ResNet18"):
        layout(arch_baseline="Yours", baselines=str(tmp_path))
    write(tmp_path, [("skip_connect", 2, 0)], [("sep_conv_7x7", 3, 1)], name="Odd")
    with pytest.raises(DdartsError, match="Odd: cell 1: node 3: sep_conv_7x7 is not one of the 12 operations"):
        layout(arch_baseline="Odd", baselines=str(tmp_path), multiplier=2)
    (tmp_path / "Broken.json").write_text("{")
    with pytest.raises(DdartsError, match=r"Broken\.json: is not valid JSON"):
        layout(arch_baseline="Broken", baselines=str(tmp_path))


def test_the_users_file_comes_before_the_published_one_of_that_name(tmp_path):
    write(tmp_path, [("skip_connect", 2, 0)], [("sep_conv_3x3", 3, 1)], name="ResNet18")
    assert layout(arch_baseline="ResNet18", baselines=str(tmp_path), multiplier=2).steps == 2
    assert layout(arch_baseline="ResNet18").steps == 4


def test_the_network_and_alphas_are_those_of_the_layout(tmp_path):
    write(tmp_path, [("skip_connect", 2, 0)], [("sep_conv_3x3", 3, 1)], sequence=(0, 1, 0))
    config = SearchConfig(arch_baseline="Mine", baselines=str(tmp_path), multiplier=1, init_channels=2)
    built = build_searcher(config, 10, CPU)
    assert len(built.network.cells) == 3 and built.network.reductions == (1,)
    assert {cell.multiplier for cell in built.network.cells} == {1}
    assert len(built.network.cells[0]._ops[0]._ops) == 12
    assert torch.equal(built.alphas.logits.detach(), built.layout.start())
    assert [built.alphas.positions(cell) for cell in range(2)] == [(0, 2), (1,)]
    # A shared set gets the sum of what its positions contribute.
    images = torch.randn(4, 3, 8, 8)
    alphas = built.alphas
    weights = alphas.per_position(alphas.mixing())
    weights.retain_grad()
    built.network(images, weights).square().sum().backward()
    sigma = torch.sigmoid(alphas.logits.detach())
    by_hand = torch.stack([weights.grad[[0, 2]].sum(0), weights.grad[1]]) * sigma * (1 - sigma)
    np.testing.assert_allclose(alphas.logits.grad, by_hand, rtol=1e-4, atol=1e-9)
