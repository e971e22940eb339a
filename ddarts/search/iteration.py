"""One iteration of the search: a step of all α on a validation batch, then a step of the weights on a training batch.

Cost in forward passes F of the search network: one forward and one backward that reaches α alone for the architecture
step, ablation passes without graphs that start at the ablated cell, one forward and backward for the weights (about
9.5 F for 8 cells; the published schedule takes 29 F).
Shapes: N batch, S distinct cells, L positions, E edges, K operations.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ddarts.runtime.errors import DivergedError
from ddarts.runtime.loss_scale import LossScale
from ddarts.search.ablation import ablated_losses, draws
from ddarts.search.losses import Contributions, contributions, zero_one_loss
from ddarts.search.recipes import Recipe
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.network import SearchNetwork, States, frozen_statistics, steady_weights

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ArchitectureReport:
    """What an architecture step saw: `ce` scalar, `zero_one` per distinct cell [S], `found` None without ablations."""

    ce: Tensor
    zero_one: Tensor
    found: Contributions | None


@dataclass(frozen=True)
class WeightReport:
    """What a weight step saw: `ce` scalar, `correct` the number of images classified right, `gradient_norm` before
    clipping."""

    ce: Tensor
    correct: Tensor
    gradient_norm: Tensor


class Iteration:
    """Steps of α and weights of one search network.

    alpha_optimizer holds the stacked logits, weight_optimizer the network's weights; whoever owns the schedule sets
    their learning rates. `ablation` False leaves out L_AB and the ablation passes.
    """

    def __init__(
        self,
        network: SearchNetwork,
        alphas: Alphas,
        alpha_optimizer: torch.optim.Optimizer,
        weight_optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        *,
        seed: int,
        zero_one: str = "l2",
        ablation: bool = True,
        grad_clip: float = 5.0,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        scale: LossScale | None = None,
    ) -> None:
        self.network = network
        self.alphas = alphas
        self.alpha_optimizer = alpha_optimizer
        self.weight_optimizer = weight_optimizer
        self.recipe = recipe
        self.seed = seed
        self.zero_one = zero_one
        self.ablation = ablation
        self.grad_clip = grad_clip
        self.autocast = autocast
        self.scale = scale or LossScale(enabled=False)
        self.parameters = list(network.parameters())
        self._before: dict | None = None  # α as before the architecture step, while the weight step may take it back
        self._overflowed = False

    def architecture_step(self, batch: Batch, step: int) -> ArchitectureReport:
        """Step every α once on a validation batch; `step` numbers the ablation draws."""
        moves = self.recipe.architecture_moves_statistics
        with nullcontext() if moves else frozen_statistics(self.network):
            mixing = self.alphas.mixing()
            weights = self.alphas.per_position(mixing)
            if moves:  # as published: the contributions come first, every pass from the stem
                found = self._contributions(batch, mixing, weights, step, states=None)
                ce, _ = self._loss(batch, weights)
            else:
                states: list[States] | None = [] if self.ablation else None
                ce, _ = self._loss(batch, weights, record=states)
                found = self._contributions(batch, mixing, weights, step, states, ce)
        wanted = [self.alphas.logits, *(self.parameters if self.recipe.needs_weight_gradient else ())]
        ce_gradient, *weight_gradients = self._gradients(ce, wanted)
        self._keep_alphas()
        self.recipe.keep_validation_gradients(weight_gradients)
        zero_one = self._step_alphas(ce, ce_gradient, found, step)
        return ArchitectureReport(ce.detach(), zero_one, found)

    def pretraining_step(self, batch: Batch, step: int) -> WeightReport:
        """Step the weights alone. (The official recipe's buffers of α gather the gradients of every such batch.)"""
        self._keep_alphas()
        return self.weight_step(batch, step)

    def weight_step(self, batch: Batch, step: int) -> WeightReport:
        """Step the weights once on a training batch (after `architecture_step`, if there is one)."""
        weights = self.alphas.per_position(self.alphas.mixing())
        if not self.recipe.needs_training_gradient:
            weights = weights.detach()
        ce, logits = self._loss(batch, weights)
        gradients: Sequence[Tensor]
        if self.recipe.needs_training_gradient:
            alpha_gradient, *gradients = self._gradients(ce, [self.alphas.logits, *self.parameters])
            overall = self._zero_one_gradient() / self.alphas.sets  # L_01 of all α is the mean over the cells
            self.recipe.keep_training_gradient(alpha_gradient + self.recipe.weights.zero_one * overall)
        else:
            gradients = self._gradients(ce, self.parameters)
        norm = self._step_weights(ce, self.recipe.weight_gradients(gradients), step)
        return WeightReport(ce.detach(), _correct(logits, batch[1]), norm)

    def joint_step(self, batch: Batch, step: int) -> tuple[ArchitectureReport, WeightReport]:
        """`--single_level`: one batch and one backward pass for α and weights together."""
        mixing = self.alphas.mixing()
        weights = self.alphas.per_position(mixing)
        states: list[States] | None = [] if self.ablation else None
        ce, logits = self._loss(batch, weights, record=states)
        with frozen_statistics(self.network):
            found = self._contributions(batch, mixing, weights, step, states, ce)
        ce_gradient, *gradients = self._gradients(ce, [self.alphas.logits, *self.parameters])
        self._keep_alphas()
        zero_one = self._step_alphas(ce, ce_gradient, found, step)
        norm = self._step_weights(ce, gradients, step)
        return (
            ArchitectureReport(ce.detach(), zero_one, found),
            WeightReport(ce.detach(), _correct(logits, batch[1]), norm),
        )

    def _loss(self, batch: Batch, weights: Tensor, record: list[States] | None = None) -> tuple[Tensor, Tensor]:
        """Cross entropy (float32 or wider) and logits of the whole network."""
        images, labels = batch
        with self.autocast():
            logits = self.network.resume(self.network.start(images), weights, 0, record=record)
        return _cross_entropy(logits, labels), logits.detach()

    def _contributions(self, batch, mixing, weights, step, states, ce=None) -> Contributions | None:
        """Marginal contributions of all cells; from `states` when the passes may start at the ablated cell."""
        if not self.ablation:
            return None
        images, labels = batch

        def losses_of(first: Sequence[int], mixed: Tensor) -> Tensor:
            with self.autocast():
                if states is None:
                    return torch.stack([_cross_entropy(self.network(images, each), labels) for each in mixed])
                logits = self.network.ablated(states, mixed, first)
            return torch.stack([_cross_entropy(each, labels) for each in logits])

        if ce is None:
            with torch.no_grad():
                (ce,) = losses_of([0], weights[None])
        replacement = draws(self.seed, step, mixing)
        ablated = [self.recipe.ablated(self.alphas.positions(cell)) for cell in range(self.alphas.sets)]
        with steady_weights(self.network):
            return contributions(ce, ablated_losses(losses_of, weights.detach(), replacement, ablated))

    def _gradients(self, loss: Tensor, wanted: Sequence[Tensor]) -> Sequence[Tensor]:
        """True gradients of `loss`."""
        return self.scale.unscale(torch.autograd.grad(self.scale.scale(loss), wanted))

    def _zero_one_gradient(self) -> Tensor:
        """Gradient [S, E, K] of the summed L_01 of all cells."""
        loss = zero_one_loss(self.alphas.mixing(), self.zero_one)
        return torch.autograd.grad(loss.sum(), self.alphas.logits)[0]

    def _step_alphas(self, ce: Tensor, ce_gradient: Tensor, found: Contributions | None, step: int) -> Tensor:
        """Step α; returns L_01 per cell [S] as it was before the step."""
        zero_one = zero_one_loss(self.alphas.mixing().detach(), self.zero_one)
        gradient = self.recipe.alpha_gradient(ce_gradient, self._zero_one_gradient(), found)
        norm = torch.nn.utils.get_total_norm([gradient])
        self._overflowed = not self._sound(ce, norm, f"the loss of step {step} or its gradient for α")
        if not self._overflowed:
            self._apply(self.alpha_optimizer, [self.alphas.logits], [gradient])
        return zero_one

    def _step_weights(self, ce: Tensor, gradients: Sequence[Tensor], step: int) -> Tensor:
        """Clip and step the weights; under a loss scale, or take α back too. Returns the norm before clipping."""
        norm = torch.nn.utils.get_total_norm(gradients)
        sound = self._sound(ce, norm, f"the training loss of step {step} or its gradient")
        overflowed = self._overflowed or not sound
        if overflowed:
            self._restore_alphas()
        else:
            self._apply(self.weight_optimizer, self.parameters, gradients, norm)
        self._overflowed, self._before = False, None
        self.scale.update(overflowed)
        return norm

    def _apply(self, optimizer, parameters, gradients, norm: Tensor | None = None) -> None:
        """One optimizer step from `gradients`, clipped where their `norm` is given."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.detach()
        if norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.grad_clip, norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _sound(self, loss: Tensor, norm: Tensor, what: str) -> bool:
        """Whether loss and gradient are finite; DivergedError if not, unless a loss scale takes care of it."""
        sound = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if not sound and not self.scale.enabled:
            raise DivergedError(f"{what} is not finite (loss {loss.item():g}); nothing was updated from it")
        return sound

    def _keep_alphas(self) -> None:
        """Under a loss scale: remember α, Adam's moments and the recipe's buffers."""
        if self.scale.enabled:
            self._before = copy.deepcopy(
                {
                    "logits": self.alphas.logits.detach(),
                    "optimizer": self.alpha_optimizer.state_dict(),
                    "recipe": self.recipe.state(),
                }
            )

    def _restore_alphas(self) -> None:
        if self._before is not None:
            with torch.no_grad():
                self.alphas.logits.copy_(self._before["logits"])
            self.alpha_optimizer.load_state_dict(self._before["optimizer"])
            self.recipe.load(self._before["recipe"], self.alphas.logits.device)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy, in float32 or wider whatever the logits' precision."""
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).sum()
