"""One iteration of the search: a step of all α on a validation batch, then a step of the weights on a training batch.

Cost in forward passes F of the search network: one forward and one backward that reaches α alone for the architecture
step, ablation passes without graphs that start at the ablated cell, one forward and backward for the weights (about
9.5 F for 8 cells; the published schedule takes 29 F).
Shapes: N batch, S distinct cells, L positions, E edges, K operations.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from ddarts.runtime.errors import DivergedError
from ddarts.runtime.parts import Batch, split, totals, weighted
from ddarts.runtime.ranks.engines import WeightEngine
from ddarts.runtime.ranks.group import Group, single
from ddarts.search.ablation import ablated_losses, draws
from ddarts.search.guard import ALPHA, WEIGHTS, Guard
from ddarts.search.inputs import HostInputs
from ddarts.search.losses import contributions, zero_one_loss
from ddarts.search.recipes import Recipe
from ddarts.search.reports import ArchitectureReport, WeightReport
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.diagnose import first_not_finite
from ddarts.supernet.network import SearchNetwork, States, frozen_statistics, steady_weights


class Iteration:
    """Steps of α and weights of one search network.

    alpha_optimizer holds the stacked logits, `weights` steps the network's weights; whoever owns the schedule sets
    their learning rates. `ablation` False leaves out L_AB and the ablation passes; they are made in every step
    that `ablation_every` divides, and their losses used until the next. `parts`: batches are worked off in
    so many parts whose gradients are added. On several ranks every rank has batches of its own and the same α.
    With a `guard` the host does not wait for a step: `check` tells of a loss that was not finite. Without one every
    step asks before its update.
    """

    def __init__(
        self,
        network: SearchNetwork,
        alphas: Alphas,
        alpha_optimizer: torch.optim.Optimizer,
        weights: WeightEngine,
        recipe: Recipe,
        *,
        seed: int,
        zero_one: str = "l2",
        ablation: bool = True,
        ablation_every: int = 1,
        parts: int = 1,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        group: Group | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.network = network
        self.alphas = alphas
        self.alpha_optimizer = alpha_optimizer
        self.weights = weights
        self.recipe = recipe
        self.seed = seed
        self.zero_one = zero_one
        self.ablation, self.ablation_every = ablation, ablation_every
        self.measured: Tensor | None = None  # the last losses that marginal contributions are made of [1 + S]
        self.parts = parts
        self.autocast = autocast
        self.group = group or single()
        self.parameters = list(network.parameters())
        self._before: dict | None = None  # α as before the architecture step, while the weight step may take it back
        self._overflowed = False
        self.guard = guard
        if guard is not None:
            guard.watch(alpha_optimizer, weights.optimizer)
        self._inputs: HostInputs | None = None  # None: what a step takes from the host is made in the step
        self._seen: Tensor  # images of the step that is taken

    @contextmanager
    def reading(self, inputs: HostInputs) -> Iterator[None]:
        """Steps meanwhile take from the host what `inputs` hold."""
        self._inputs = inputs
        try:
            yield
        finally:
            self._inputs = None

    def check(self) -> None:
        """Raise DivergedError if an update was left out since a loss or a gradient was not finite. The host waits."""
        problem = None if self.guard is None else self.guard.problem()
        if problem is not None:
            raise self._diverged(*problem)

    def forget(self) -> None:
        """After a step that broke off: its gradients."""
        self.weights.skip()
        self.recipe.left_for_weights()

    def architecture_step(self, batch: Batch, step: int) -> ArchitectureReport:
        """Step every α once on a validation batch; `step` numbers the ablation draws."""
        self._seen = batch[0]
        seen = [self._examine(part, share, step) for share, part in split(batch, self.parts)]
        ce, losses, ce_gradient, *weight_gradients = totals(seen)
        ce, losses, ce_gradient = self.group.step_mean(ce, losses, ce_gradient)
        self._keep_alphas()
        self.recipe.keep_validation_gradients(weight_gradients)
        return self._step_alphas(ce, losses, ce_gradient, step)

    def pretraining_step(self, batch: Batch, step: int) -> WeightReport:
        """Step the weights alone. (The official recipe's buffers of α gather the gradients of every such batch.)"""
        self._keep_alphas()
        return self.weight_step(batch, step)

    def weight_step(self, batch: Batch, step: int) -> WeightReport:
        """Step the weights once on a training batch (after `architecture_step`, if there is one)."""
        self._seen = batch[0]
        others = [self.alphas.logits] if self.recipe.needs_training_gradient else []
        seen, added, parts = [], self.recipe.left_for_weights(), split(batch, self.parts)
        for share, part in parts:
            weights = self.alphas.per_position(self.alphas.mixing())
            ce, logits = self._loss(part, weights if others else weights.detach())
            gradients = self.weights.backward(weighted(ce, share), others, added, last=part is parts[-1][1])
            seen.append([weighted(ce.detach(), share), _correct(logits, part[1]), *gradients])
            added = ()
        norm, (ce, correct, *alpha_gradient) = self.weights.reduce(*totals(seen))
        if others:
            overall = self._zero_one_gradient() / self.alphas.sets  # L_01 of all α is the mean over the cells
            self.recipe.keep_training_gradient(alpha_gradient[0] + self.recipe.weights.zero_one * overall)
        self._step_weights(ce, norm, step)
        return WeightReport(ce, correct, norm)

    def joint_step(self, batch: Batch, step: int) -> tuple[ArchitectureReport, WeightReport]:
        """`--single_level`: one batch and one backward pass for α and weights together."""
        self._seen = batch[0]
        seen, parts = [], split(batch, self.parts)
        for share, part in parts:
            mixing = self.alphas.mixing()
            weights = self.alphas.per_position(mixing)
            states: list[States] | None = [] if self.ablates(step) else None
            ce, logits = self._loss(part, weights, record=states)
            with frozen_statistics(self.network), steady_weights(self.network):
                losses = self._losses(part, mixing, weights, step, states, ce)
            gradients = self.weights.backward(weighted(ce, share), [self.alphas.logits], last=part is parts[-1][1])
            values = weighted(ce.detach(), share), _correct(logits, part[1]), weighted(losses, share), *gradients
            seen.append(values)
        norm, (ce, correct, losses, ce_gradient) = self.weights.reduce(*totals(seen))
        self._keep_alphas()
        architecture = self._step_alphas(ce, losses, ce_gradient, step)
        self._step_weights(ce, norm, step)
        return architecture, WeightReport(ce, correct, norm)

    def _examine(self, batch: Batch, share: float, step: int) -> list[Tensor]:
        """What a part of a validation batch says, times its share: L_CE, the losses that marginal contributions are
        made of [1 + S], and the gradients of L_CE for α [S, E, K] and, where the recipe wants them, for the weights."""
        moves = self.recipe.architecture_moves_statistics
        with nullcontext() if moves else frozen_statistics(self.network):
            mixing = self.alphas.mixing()
            weights = self.alphas.per_position(mixing)
            if moves:  # as published: the contributions come first, every pass from the stem
                with steady_weights(self.network):
                    losses = self._losses(batch, mixing, weights, step, states=None)
                ce = self._plain_loss(batch, weights)
            else:
                states: list[States] | None = [] if self.ablates(step) else None
                with steady_weights(self.network):
                    ce = self._plain_loss(batch, weights, states)
                    losses = self._losses(batch, mixing, weights, step, states, ce)
        wanted = [self.alphas.logits, *(self.parameters if self.recipe.needs_weight_gradient else ())]
        loss, scale = weighted(ce, share), self.weights.scale
        gradients = scale.unscale(torch.autograd.grad(scale.scale(loss), wanted))
        return [loss.detach(), weighted(losses, share), *gradients]

    def _loss(self, batch: Batch, weights: Tensor, record: list[States] | None = None) -> tuple[Tensor, Tensor]:
        """Cross entropy (float32 or wider) and logits of the whole network, for a step of the weights."""
        images, labels = batch
        logits = self.weights.forward(images, weights, record=record)
        return _cross_entropy(logits, labels), logits.detach()

    def _plain_loss(self, batch: Batch, weights: Tensor, record: list[States] | None = None) -> Tensor:
        """Cross entropy of the whole network, for a step of α alone."""
        images, labels = batch
        with self.autocast():
            logits = self.network(images, weights, record=record)
        return _cross_entropy(logits, labels)

    def _losses(self, batch, mixing, weights, step, states, ce=None) -> Tensor:
        """The losses of the whole network and with each cell ablated [1 + S]; from `states` when the passes may start
        at the ablated cell. [0] without ablations."""
        if not self.ablates(step):
            return mixing.new_zeros(0)
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
        replacement = draws(self.seed, step, mixing) if self._inputs is None else self._inputs.draws
        ablated = [self.recipe.ablated(self.alphas.positions(cell)) for cell in range(self.alphas.sets)]
        found = ablated_losses(losses_of, weights.detach(), replacement, ablated)
        return torch.cat([ce.detach()[None], found])

    def ablates(self, step: int) -> bool:
        """Whether marginal contributions are measured in this step, or the last ones are used."""
        return self.ablation and (self.measured is None or step % self.ablation_every == 0)

    def _zero_one_gradient(self) -> Tensor:
        """Gradient [S, E, K] of the summed L_01 of all cells."""
        loss = zero_one_loss(self.alphas.mixing(), self.zero_one)
        return torch.autograd.grad(loss.sum(), self.alphas.logits)[0]

    def _step_alphas(self, ce: Tensor, losses: Tensor, ce_gradient: Tensor, step: int) -> ArchitectureReport:
        """Step α; L_01 is reported as it was before the step."""
        if self.ablates(step):
            self.measured = losses if self.measured is None else self.measured.copy_(losses)
        found = None if self.measured is None else contributions(self.measured[0], self.measured[1:])
        zero_one = zero_one_loss(self.alphas.mixing().detach(), self.zero_one)
        gradient = self.recipe.alpha_gradient(ce_gradient, self._zero_one_gradient(), found)
        norm = torch.nn.utils.get_total_norm([gradient])
        self._overflowed = not self._sound(ce, norm, step, ALPHA)
        if not self._overflowed:
            self.alphas.logits.grad = gradient.detach()
            self.alpha_optimizer.step()
            self.alpha_optimizer.zero_grad(set_to_none=True)
        return ArchitectureReport(ce, zero_one, found)

    def _step_weights(self, ce: Tensor, norm: Tensor, step: int) -> None:
        """Step the weights; under a loss scale, or take α back too."""
        sound = self._sound(ce, norm, step, WEIGHTS)
        overflowed = self._overflowed or not sound
        if overflowed:
            self._restore_alphas()
            self.weights.skip()
        else:
            self.weights.step(norm)
        self._overflowed, self._before = False, None
        self.weights.scale.update(overflowed)

    def _sound(self, loss: Tensor, norm: Tensor, step: int, update: int) -> bool:
        """Whether to update, since loss and gradient are finite; DivergedError if not, unless a loss scale takes care
        of it. A guard leaves updates out by itself."""
        if self.guard is not None:
            self.guard.note(loss, norm, step if self._inputs is None else self._inputs.number, update)
            return True
        sound = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if not sound and not self.weights.scale.enabled:
            raise self._diverged(step, update, loss.item())
        return sound

    def _diverged(self, step: int, update: int, loss: float) -> DivergedError:
        where = f"the training loss of step {step}" if update == WEIGHTS else f"the loss of step {step}"
        gradient = "its gradient" if update == WEIGHTS else "its gradient for α"
        return DivergedError(
            f"{where}{self.group.at_fault()} or {gradient} is not finite (loss {loss:g}{self._first_not_finite()}); "
            "nothing was updated from it"
        )

    def _first_not_finite(self) -> str:
        """Where in this rank's part of the step the network put out the first number that is not finite, if it did."""
        with self.autocast():
            where = first_not_finite(self.network, self._seen, self.alphas.per_position(self.alphas.mixing()))
        return f", first in {where}" if where else ""

    def _keep_alphas(self) -> None:
        """Under a loss scale: remember α, Adam's moments and the recipe's buffers."""
        if self.weights.scale.enabled:
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
