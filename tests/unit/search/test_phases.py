"""Which phase every epoch belongs to, its learning rates, and what a phase steps."""

import pytest
import torch

from ddarts.config import SearchConfig
from ddarts.search.build import build_searcher
from ddarts.search.phases import Bilevel, Pretraining, phases
from ddarts.search.schedule import Schedule


def schedule(**options):
    return Schedule(SearchConfig(**{"arch_baseline": "ResNet18", "epochs": 6, "pretrain_epochs": 3, **options}))


def published(rate, end, period, epochs):
    """The rates of torch's own scheduler, stepped once an epoch as the published program does."""
    optimizer = torch.optim.SGD([torch.zeros(1)], rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, period, eta_min=end)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("pretrain", "epochs"), [(3, 6), (0, 4), (5, 2)])
@pytest.mark.parametrize("recipe", ["paper", "official"])
def test_the_rates_follow_the_published_schedulers(recipe, pretrain, epochs):
    found = schedule(recipe=recipe, pretrain_epochs=pretrain, epochs=epochs)
    assert (found.epochs, found.pretraining) == (pretrain + epochs, pretrain)
    weights = [found.weight_rate(epoch) for epoch in range(found.epochs)]
    assert weights == pytest.approx(published(0.005, 0.001, found.epochs, found.epochs))
    alphas = [found.alpha_rate(epoch) for epoch in range(pretrain, found.epochs)]
    expected = published(3e-3, 1e-3, epochs, found.epochs)
    assert alphas == pytest.approx(expected[pretrain:] if recipe == "official" else expected[:epochs])


def test_only_a_search_from_a_baseline_pretrains():
    plain = Schedule(SearchConfig(epochs=6, pretrain_epochs=3))
    assert (plain.pretraining, plain.epochs) == (0, 6) and not plain.pretrains(0)
    assert [schedule().pretrains(epoch) for epoch in range(5)] == [True, True, True, False, False]


def test_alphas_step_in_the_epochs_after_pretraining_only():
    assert [steps for steps, _ in schedule().alpha_steps(per_epoch=10, total=45)] == [10, 5, 0, 0, 0, 0]
    assert [steps for steps, _ in schedule().alpha_steps(per_epoch=10, total=30)] == [0] * 6
    assert schedule().alpha_steps(10, 90)[0] == (10, 1.0)


class Batches:
    """A loader of three batches an epoch, each of which says which it is."""

    batches_per_epoch = 3

    def epoch(self, epoch, start=0):
        yield from ((epoch, batch) for batch in range(start, 3))


@pytest.mark.parametrize(("taken", "first"), [(0, (0, 0)), (1, (0, 1)), (4, (1, 1))])
def test_the_search_goes_on_with_the_validation_batch_after_those_that_alphas_have_seen(taken, first):
    phase_of = phases(schedule(), None, Batches(), taken, lambda phase: phase)
    assert [type(phase_of(epoch)) for epoch in (0, 2, 3, 8)] == [Pretraining, Pretraining, Bilevel, Bilevel]
    assert [phase_of(epoch).validates for epoch in (2, 3)] == [False, True]
    assert next(phase_of(3).valid) == first


def test_pretraining_moves_the_weights_and_neither_alpha_nor_its_optimizer():
    searcher = build_searcher(SearchConfig(arch_baseline="ResNet18", init_channels=2), 10, torch.device("cpu"))
    iteration, before = searcher.iteration, searcher.alphas.logits.detach().clone()
    weight = searcher.network.classifier.weight.detach().clone()
    batch = torch.randn(8, 3, 8, 8), torch.arange(8)
    architecture, report = Pretraining(iteration).run([batch], 0)
    assert architecture is None and report.ce > 0
    assert torch.equal(before, searcher.alphas.logits) and not iteration.alpha_optimizer.state
    assert not torch.equal(weight, searcher.network.classifier.weight)
