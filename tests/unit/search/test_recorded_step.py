"""The search reproduces the recorded iteration of the published program to 1e-9 in float64."""

import pytest
import torch
from published_loop import PublishedLoop
from torch.nn import functional as F

from ddarts.search import iteration as iteration_module
from ddarts.search.ablation import ablated_losses
from ddarts.search.losses import contributions, zero_one_loss
from ddarts.supernet.network import frozen_statistics
from tests.tolerances import assert_close

CELLS = 8


def test_weight_step_a(build, recorded):
    case = build("official")
    images, labels = recorded.train
    with frozen_statistics(case.network):
        assert_close(case.network(images, case.alphas.mixing()), recorded["A_train_logits"])
    overall = zero_one_loss(case.alphas.mixing()).mean()
    assert_close(overall.detach(), recorded["A_sep_loss"])
    report = case.iteration.weight_step((images, labels), step=0)
    assert_close(report.ce, recorded["A_ce"])
    assert_close(report.ce + 9.0 * overall.detach(), recorded["A_weight_loss"])
    assert_close(report.gradient_norm, recorded["A_total_grad_norm"])
    assert_close(case.recipe.left, recorded.cells("A_alpha_grads"))


def test_marginal_contributions_b(build, recorded):
    case = build("paper")
    images, labels = recorded.valid
    weights = case.alphas.mixing().detach()
    states = []
    with torch.no_grad(), frozen_statistics(case.network):
        logits = case.network.resume(case.network.start(images), weights, 0, record=states)
        full = F.cross_entropy(logits, labels)

        def losses_of(first, mixed):
            return torch.stack([F.cross_entropy(each, labels) for each in case.network.ablated(states, mixed, first)])

        each = [[i] for i in range(CELLS)]
        ablated = ablated_losses(losses_of, weights, recorded["B_draws"], each)
        half = ablated_losses(losses_of, weights, torch.full_like(weights, 0.5), each)
    assert_close(logits, recorded["B_full_logits"])
    assert_close(full, recorded["B_full_valid_ce"])
    assert_close(ablated, recorded["B_ablated_ce"])
    assert_close(half, recorded["B_ablated_ce_fixed_mix_0.5"])
    found = contributions(full, ablated)
    assert_close(found.marginal, recorded["B_mc"])
    assert_close(found.marginal.mean(), recorded["B_mean_mc"])
    assert_close(found.ablation_loss, recorded["B_ablation_loss"])
    assert_close(found.gain, 1 / recorded["B_mean_mc"].abs())
    assert not found.floor_acts


@pytest.mark.parametrize("recipe", ["paper", "official"])
def test_architecture_step_sees_b_and_d(build, recorded, recipe, monkeypatch):
    monkeypatch.setattr(iteration_module, "draws", lambda seed, step, like: recorded["B_draws"])
    case = build(recipe)
    seen = {}
    rule = case.recipe.alpha_gradient

    def spy(ce, zero_one, found):
        seen.update(ce=ce, zero_one=zero_one)
        return rule(ce, zero_one, found)

    monkeypatch.setattr(case.recipe, "alpha_gradient", spy)
    report = case.iteration.architecture_step(recorded.valid, step=0)
    assert_close(report.ce, recorded["D_valid_ce"])
    assert_close(report.found.marginal, recorded["B_mc"])
    assert_close(seen["ce"], recorded.cells("D_valid_ce_alpha_grads"))
    assert_close(9.0 * seen["zero_one"], recorded.cells("D_sep_alpha_grads"))


def test_official_iteration_c(build, recorded):
    case = build("official")
    case.iteration.architecture_step(recorded.valid, step=0)
    assert_close(case.alphas.logits.detach(), recorded.cells("C_alphas_after_step"))
    assert_close(case.recipe.left[: CELLS - 1], recorded.cells("C_alpha_grads_left_after_step", CELLS - 1))
    assert not case.recipe.left[CELLS - 1].any()
    report = case.iteration.weight_step(recorded.train, step=0)
    assert_close(report.gradient_norm, recorded["C_grad_norm_before_clip"])


def test_official_matches_retained_graph_backwards_for_three_iterations(build, recorded):
    case = build("official", ablation=False)
    naive = PublishedLoop(build("official", execution="reference").network, recorded.cells("alphas_before"))
    state = case.iteration.alpha_optimizer.state[case.alphas.logits]
    for step, (valid, train) in enumerate([(recorded.valid, recorded.train), (recorded.train, recorded.valid)] * 2):
        if step == 3:
            break
        case.iteration.architecture_step(valid, step)
        naive.architecture_step(valid)
        assert_close(case.alphas.logits.detach(), torch.stack(naive.alphas).detach())
        assert_close(case.recipe.left, torch.stack([a.grad for a in naive.alphas]))
        report = case.iteration.weight_step(train, step)
        naive.weight_step(train)
        assert_close(report.gradient_norm, naive.norm)
        assert_close(case.recipe.left, torch.stack([a.grad for a in naive.alphas]))
        state = case.iteration.alpha_optimizer.state[case.alphas.logits]
        for moment in ("exp_avg", "exp_avg_sq"):
            theirs = [o.state[a][moment] for o, a in zip(naive.alpha_optimizers, naive.alphas, strict=True)]
            assert_close(state[moment], torch.stack(theirs))
    ours = dict(case.network.named_parameters())
    for name, theirs in naive.network.named_parameters():
        assert_close(ours[name].detach(), theirs.detach())


def test_official_pretraining_and_shared_cells_match_retained_graph_backwards(build, recorded):
    sequence = (0, 1, 1, 2, 0, 2, 2, 1)
    case = build("official", sequence=sequence, ablation=False)
    network = build("official", execution="reference").network
    naive = PublishedLoop(network, recorded.cells("alphas_before", 3), sequence)
    for step in range(2):
        case.iteration.pretraining_step(recorded.train, step)
        naive.weight_step(recorded.train)
        assert_close(case.recipe.left, torch.stack([a.grad for a in naive.alphas]))  # of both batches
    for step in range(2, 3):
        case.iteration.architecture_step(recorded.valid, step)
        naive.architecture_step(recorded.valid)
        assert_close(case.alphas.logits.detach(), torch.stack(naive.alphas).detach())
        report = case.iteration.weight_step(recorded.train, step)
        naive.weight_step(recorded.train)
        assert_close(report.gradient_norm, naive.norm)
    assert_close(case.recipe.left, torch.stack([a.grad for a in naive.alphas]))


@pytest.mark.parametrize(("recipe", "together"), [("paper", [(0, 2), (1, 3, 4, 5, 6, 7)]), ("official", [(0,), (1,)])])
def test_who_is_ablated_where_positions_share_a_cell(recipe, together, build, recorded, monkeypatch):
    asked = []

    def spy(loss_from, weights, replacement, ablated):
        asked.extend(map(tuple, ablated))
        return ablated_losses(loss_from, weights, replacement, ablated)

    monkeypatch.setattr(iteration_module, "ablated_losses", spy)
    build(recipe, sequence=(0, 1, 0, 1, 1, 1, 1, 1)).iteration.architecture_step(recorded.valid, step=0)
    assert asked == together


def test_evaluation_mode_e(build, recorded):
    case = build("paper")
    case.network.eval()
    with torch.no_grad():
        assert_close(case.network(recorded["x_valid"], case.alphas.mixing()), recorded["E_eval_logits_initial_stats"])
