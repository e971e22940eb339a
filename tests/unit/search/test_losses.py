"""Zero-one loss, marginal contributions, and what the two recipes make of the gradients."""

import pytest
import torch

from ddarts.search.ablation import ablated_losses, draws
from ddarts.search.losses import CONTRIBUTION_FLOOR, contributions, zero_one_loss
from ddarts.search.recipes import LossWeights, OfficialRecipe, PaperRecipe


def test_zero_one_loss_is_lowest_at_zero_and_one():
    mixing = torch.tensor([[[0.5, 0.5]], [[0.0, 1.0]], [[0.25, 0.75]]])
    assert zero_one_loss(mixing).tolist() == [0.0, -0.25, -0.0625]
    assert zero_one_loss(mixing, "l1").tolist() == [0.0, -0.5, -0.25]


def test_a_cell_that_helps_less_than_the_average_has_the_larger_loss():
    # Without cell 0 the loss rises by 1.0, without cell 1 by 0.2: both help, cell 1 less.
    found = contributions(torch.tensor(1.0), torch.tensor([2.0, 1.2]))
    assert found.marginal.tolist() == pytest.approx([-1.0, -0.2])
    assert found.ablation_loss.tolist() == pytest.approx([-0.4 / 0.6, 0.4 / 0.6])
    assert found.gain.item() == pytest.approx(1 / 0.6)
    assert not found.floor_acts


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_floor_keeps_the_quotient_finite_whatever_its_sign(sign):
    found = contributions(torch.tensor(1.0), torch.tensor([1.0 + sign * 0.001, 1.0 + sign * 0.003]))
    assert found.floor_acts
    assert found.gain.item() == pytest.approx(1 / CONTRIBUTION_FLOOR)
    assert found.ablation_loss.tolist() == pytest.approx([sign * 0.1, -sign * 0.1], abs=1e-4)


def test_the_gain_is_the_gradient_of_the_ablation_loss():
    """L_AB descends through the L_CE in M alone, everything else held fixed."""
    full = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    ablated = torch.tensor([2.5, 1.7, 1.1], dtype=torch.float64)
    mean = (full - ablated).mean().detach()
    losses = ((full - ablated) - mean) / mean.abs().clamp_min(CONTRIBUTION_FLOOR)
    found = contributions(full, ablated)
    torch.testing.assert_close(found.ablation_loss, losses.detach())
    for loss in losses:
        (slope,) = torch.autograd.grad(loss, full, retain_graph=True)
        assert slope.item() == pytest.approx(found.gain.item())


def test_paper_gradient_is_that_of_the_three_losses():
    ce, zero_one = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    found = contributions(torch.tensor(1.0), torch.tensor([2.0, 1.2, 1.4]))
    gradient = PaperRecipe(3, LossWeights(9.0, 0.7)).alpha_gradient(ce, zero_one, found)
    torch.testing.assert_close(gradient, ce + 9.0 * zero_one + 0.7 * found.gain * ce)
    without = PaperRecipe(3, LossWeights(9.0, 0.7)).alpha_gradient(ce, zero_one, None)
    torch.testing.assert_close(without, ce + 9.0 * zero_one)


def test_official_buffers_follow_the_written_formula():
    """G_i(t) = (i+1)·g(t) + w·z(t) + (n−1−i)·g(t−1) + what the weight step left at t−1."""
    recipe, n = OfficialRecipe(3, LossWeights(9.0, 0.7)), 3
    g = [torch.randn(n, 2, 4, dtype=torch.float64) for _ in range(2)]
    z = [torch.randn(n, 2, 4, dtype=torch.float64) for _ in range(2)]
    trained = torch.randn(n, 2, 4, dtype=torch.float64)
    order = torch.arange(n).view(-1, 1, 1)
    first = recipe.alpha_gradient(g[0], z[0], None)
    torch.testing.assert_close(first, (order + 1) * g[0] + 9.0 * z[0])
    recipe.keep_training_gradient(trained)
    second = recipe.alpha_gradient(g[1], z[1], None)
    torch.testing.assert_close(second, (order + 1) * g[1] + 9.0 * z[1] + (n - 1 - order) * g[0] + trained)
    assert recipe.ablated((1, 4, 6)) == (1,)
    assert PaperRecipe(3, LossWeights(9.0, 0.7)).ablated((1, 4, 6)) == (1, 4, 6)


def test_draws_depend_on_their_address_alone():
    like = torch.zeros(3, 14, 7)
    first = draws(2, 5, like)
    draws(2, 6, like)
    assert torch.equal(first, draws(2, 5, like))
    assert not torch.equal(first, draws(2, 6, like)) and not torch.equal(first, draws(3, 5, like))
    assert 0 <= first.min() and first.max() < 1 and abs(first.mean() - 0.5) < 0.05
    assert first.flatten().unique().numel() == first.numel()


def test_ablation_replaces_one_cell_and_starts_there():
    weights, replacement = torch.zeros(4, 1, 1), torch.arange(1.0, 4.0).view(3, 1, 1)
    seen = []

    def losses_of(first, mixed):
        seen.append((first, mixed.flatten(1).tolist()))
        return mixed.sum(dim=(1, 2, 3))

    losses = ablated_losses(losses_of, weights, replacement, [(0,), (2,), (1, 3)])
    assert seen == [([0, 1, 2], [[1, 0, 0, 0], [0, 3, 0, 3], [0, 0, 2, 0]])]
    assert losses.tolist() == [1, 2, 6] and not weights.any()
