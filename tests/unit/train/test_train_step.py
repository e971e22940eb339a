"""One training step: losses, clipping, and what happens when numbers are no longer finite."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ddarts.config import TrainConfig
from ddarts.runtime.schedule import set_learning_rate
from ddarts.train.average import MovingAverage
from ddarts.train.optimizer import make_optimizer
from ddarts.train.step import DivergedError, Stepper

CONFIG = TrainConfig(arch="DD-4", learning_rate=0.1, momentum=0.9, weight_decay=0.01)


class TwoHeads(nn.Module):
    """A linear classifier and an auxiliary one."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.auxiliary = nn.Linear(12, 4), nn.Linear(12, 4)

    def forward(self, x):
        x = x.flatten(1)
        return (self.main(x), self.auxiliary(x)) if self.training else self.main(x)


def stepper(model, *, scaler=None, smoothing=0.1, clip=5.0):
    """A stepper of `model` on the CPU."""
    return Stepper(
        model,
        model,
        make_optimizer(model.parameters(), CONFIG),
        scaler or torch.amp.GradScaler("cpu", enabled=False),
        nullcontext,
        label_smoothing=smoothing,
        auxiliary_weight=0.4,
        grad_clip=clip,
    )


def batch(size=8):
    """Images and labels."""
    return torch.randn(size, 3, 2, 2), torch.randint(4, (size,))


def weights(model):
    """A copy of all weights."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def changed(model, before):
    """Whether any weight moved."""
    return any(not torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("clip", [5.0, 0.01])
def test_steps_equal_the_plain_computation(clip):
    """Against torch's unfused SGD, written out; the first step sets the momentum to the gradient."""
    model = TwoHeads()
    twin = copy.deepcopy(model)
    ours = stepper(model, clip=clip)
    plain = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9, weight_decay=0.01, foreach=False)
    for number in range(3):
        images, labels = batch()
        report = ours.step(images, labels, number + 1)
        main, auxiliary = twin(images)
        loss = F.cross_entropy(main, labels, label_smoothing=0.1)
        plain.zero_grad()
        (loss + 0.4 * F.cross_entropy(auxiliary, labels, label_smoothing=0.1)).backward()
        total = torch.sqrt(sum(p.grad.square().sum() for p in twin.parameters()))
        for parameter in twin.parameters():
            parameter.grad *= min(1.0, clip / total.item())
        plain.step()
        assert report.loss.item() == pytest.approx(loss.item())
        assert report.correct.item() == (main.argmax(1) == labels).sum().item()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_update(value):
    model = TwoHeads()
    ours = stepper(model)
    ours.step(*batch(), 1)
    before = weights(model)
    images, labels = batch()
    images[3] = value
    with pytest.raises(DivergedError, match="step 2: .*not finite; nothing was updated"):
        ours.step(images, labels, 2)
    assert not changed(model, before)


def test_where_the_host_does_not_wait_the_device_stops_the_updates():
    """As on a GPU: the bad step goes unnoticed, but it and all later ones leave the weights alone."""
    model = TwoHeads()
    ours = stepper(model)
    ours._waits = False
    ours.step(*batch(), 1)
    ours.check()
    before = weights(model)
    momenta = [state["momentum_buffer"].clone() for state in ours.optimizer.state.values()]
    images, labels = batch()
    ours.step(images * float("nan"), labels, 2)
    ours.step(*batch(), 3)
    assert not changed(model, before)
    kept = [state["momentum_buffer"] for state in ours.optimizer.state.values()]
    assert all(torch.equal(a, b) for a, b in zip(momenta, kept, strict=True))
    with pytest.raises(DivergedError, match="step 2:"):
        ours.check()


def test_a_gradient_that_is_not_finite_stops_too():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return self.w.sqrt() + x.flatten(1)[:, :4]  # finite, with an infinite slope at 0

    model = Root()
    with pytest.raises(DivergedError, match="step 7"):
        stepper(model).step(*batch(), 7)
    assert not changed(model, [torch.zeros(4)])


def test_an_overflow_of_the_loss_scale_leaves_the_update_out_and_counts_it():
    model = TwoHeads()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=10_000)
    ours = stepper(model, scaler=scaler)
    before = weights(model)
    images, labels = batch()
    ours.step(images * 100, labels, 1)  # scaled gradients pass the largest float32
    assert not changed(model, before) and ours.skipped.item() == 1
    assert all(not state["momentum_buffer"].any() for state in ours.optimizer.state.values())
    assert scaler.get_scale() == 2.0**126
    ours.check()
    scaler.update(2.0)
    ours.step(images, labels, 2)
    assert changed(model, before) and ours.skipped.item() == 1


def test_no_loss_scale_small_enough_is_an_error():
    model = TwoHeads()
    model.main.weight.register_hook(lambda gradient: gradient * float("inf"))  # whatever the scale
    ours = stepper(model, scaler=torch.amp.GradScaler("cpu", init_scale=2.0))
    ours.step(*batch(), 1)
    ours.check()
    ours.step(*batch(), 2)
    assert ours.skipped.item() == 2
    with pytest.raises(DivergedError, match="every loss scale.*--precision bf16"):
        ours.check()


def test_the_learning_rate_is_set_for_all_weights():
    optimizer = make_optimizer(TwoHeads().parameters(), CONFIG)
    set_learning_rate(optimizer, 0.003)
    assert [group["lr"] for group in optimizer.param_groups] == [0.003]


def test_the_moving_average_follows_weights_and_statistics():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = MovingAverage(model, 0.75)
    start, start_mean = model[0].weight.detach().clone(), model[1].running_mean.clone()
    with torch.no_grad():
        model[0].weight.add_(4.0)
    model(torch.randn(5, 3))
    average.update(model)
    torch.testing.assert_close(average.module[0].weight, 0.75 * start + 0.25 * model[0].weight)
    torch.testing.assert_close(average.module[1].running_mean, 0.75 * start_mean + 0.25 * model[1].running_mean)
    assert average.module[1].num_batches_tracked.item() == 1
    assert not average.module.training and not any(p.requires_grad for p in average.module.parameters())
