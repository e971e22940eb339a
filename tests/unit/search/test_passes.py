"""Which passes an iteration makes: how often every cell runs, and which passes move the running statistics of BN."""

import copy

import pytest
import torch

from ddarts.config import SearchConfig
from ddarts.config.validate import validate
from ddarts.runtime.errors import UsageError
from ddarts.search.build import build_searcher
from ddarts.supernet.network import EXECUTIONS

CELLS = 4
TINY = {"dataset": "digits", "image_size": 8, "init_channels": 2, "layers": CELLS, "steps": 1, "multiplier": 1}


@pytest.fixture
def make(monkeypatch):
    """make(**options): a searcher, with `counts` of its cells' forward passes since then; of networks side by side,
    each counts."""

    def built(**options):
        searcher = build_searcher(SearchConfig(**{**TINY, **options}), 10, torch.device("cpu"))
        with torch.no_grad():
            searcher.alphas.logits.normal_()
        counts = [0] * CELLS

        def count(cell, arguments, index):
            counts[index] += 1

        for index, cell in enumerate(searcher.network.cells):
            cell.register_forward_pre_hook(lambda cell, arguments, i=index: count(cell, arguments, i))
            monkeypatch.setattr(cell, "run_groups", counted(cell.run_groups, counts, index))
        searcher.network.train()
        return searcher, counts

    return built


def counted(run_groups, counts, index):
    def run(shared, own, weights):
        before = counts[index]
        out = run_groups(shared, own, weights)
        counts[index] = before + len(weights)
        return out

    return run


def batch():
    return torch.randn(6, 3, 8, 8), torch.arange(6)


def moves(network):
    """How many batches each BN has counted into its running statistics; one number, since all go together."""
    numbers = {int(m.num_batches_tracked) for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert len(numbers) == 1
    return numbers.pop()


def statistics(network):
    return {name: value.clone() for name, value in network.state_dict().items() if "running" in name}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_paper_s_architecture_step_starts_at_the_ablated_cell(make):
    for execution in EXECUTIONS:
        searcher, counts = make(supernet=execution)
        searcher.iteration.architecture_step(batch(), 0)
        # Once for the whole network, once for every ablated cell before or at this one: n + Σ (n − i) in all.
        assert counts == [1 + index + 1 for index in range(CELLS)]
        assert sum(counts) == CELLS + sum(CELLS - i for i in range(CELLS))


def test_the_official_architecture_step_makes_whole_passes(make):
    searcher, counts = make(recipe="official")
    searcher.iteration.architecture_step(batch(), 0)
    assert counts == [CELLS + 2] * CELLS


@pytest.mark.parametrize("single_level", [False, True])
def test_contributions_are_measured_every_so_many_steps(make, single_level):
    searcher, counts = make(ablation_every=3, single_level=single_level)
    step = searcher.iteration.joint_step if single_level else searcher.iteration.architecture_step
    seen, passes = [], []
    for number in range(4, 9):  # the first step measures whatever its number
        before = sum(counts)
        found = step(batch(), number)
        seen.append((found[0] if single_level else found).found.marginal)
        passes.append(sum(counts) - before)
    whole = CELLS + sum(CELLS - i for i in range(CELLS))
    assert passes == [whole, CELLS, whole, CELLS, CELLS]
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[4]) and not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("options", [{"recipe": "official"}, {"cell_loss": "none"}])
def test_an_option_that_would_do_nothing_or_harm_is_refused(options):
    with pytest.raises(UsageError, match="--ablation_every 2: "):
        validate(SearchConfig(ablation_every=2, **options))


@pytest.mark.parametrize("options", [{}, {"single_level": True}])
def test_without_the_ablation_loss_nothing_is_ablated(make, options):
    searcher, counts = make(cell_loss="none", **options)
    step = searcher.iteration.joint_step if options else searcher.iteration.architecture_step
    step(batch(), 0)
    assert counts == [1] * CELLS


def test_the_official_recipe_without_the_ablation_loss(make):
    searcher, counts = make(cell_loss="none", recipe="official")
    searcher.iteration.architecture_step(batch(), 0)
    assert counts == [1] * CELLS and moves(searcher.network) == 1


def test_weight_and_joint_steps(make):
    searcher, counts = make()
    searcher.iteration.weight_step(batch(), 0)
    assert counts == [1] * CELLS
    searcher, counts = make()
    searcher.iteration.joint_step(batch(), 0)
    assert counts == [1 + index + 1 for index in range(CELLS)]


def test_the_paper_s_architecture_step_leaves_the_statistics(make):
    searcher, _ = make()
    before = statistics(searcher.network)
    searcher.iteration.architecture_step(batch(), 0)
    assert moves(searcher.network) == 0 and same(before, statistics(searcher.network))
    searcher.iteration.weight_step(batch(), 0)
    assert moves(searcher.network) == 1 and not same(before, statistics(searcher.network))


def test_every_pass_of_the_official_architecture_step_moves_the_statistics(make):
    searcher, _ = make(recipe="official")
    searcher.iteration.architecture_step(batch(), 0)
    assert moves(searcher.network) == CELLS + 2
    searcher.iteration.weight_step(batch(), 0)
    assert moves(searcher.network) == CELLS + 3


def test_a_joint_step_moves_the_statistics_by_its_one_whole_pass(make):
    searcher, _ = make()
    images, labels = batch()
    alone = copy.deepcopy(searcher.network)
    with torch.no_grad():
        alone(images, searcher.alphas.mixing())
    searcher.iteration.joint_step((images, labels), 0)
    assert moves(searcher.network) == 1 and same(statistics(alone), statistics(searcher.network))
