"""Who steps the weights. Every engine does the same four things with a loss: forward and backward, reduce over the
ranks, step, or leave the step out; and its optimizer's state looks the same, whoever saved it.

α are never part of an engine: they are inputs of the network, and their gradients come back from `backward`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ddarts.runtime.loss_scale import LossScale
from ddarts.runtime.optimizers import load_optimizer_state, optimizer_state
from ddarts.runtime.ranks.group import Group, single


class WeightEngine(Protocol):
    """Steps of the weights of one network. `optimizer` has their learning rate; whoever owns the schedule sets it."""

    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    scale: LossScale

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The network's output, under autocast, for a loss that goes to `backward`. Other passes call the network."""
        ...

    def backward(
        self, loss: Tensor, others: Sequence[Tensor] = (), added: Sequence[Tensor] = (), last: bool = True
    ) -> Sequence[Tensor]:
        """Add the gradients of `loss`, and `added`, to those that wait for the step.

        Returns the gradients of the leaves `others`, of this rank alone. last: no further part of the batch comes.
        """
        ...

    def reduce(self, loss: Tensor, *observed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The norm of the mean gradient of all ranks, and the means of the loss and what else was observed. Collective
        (see `Group.step_mean`)."""
        ...

    def step(self, norm: Tensor) -> None:
        """Clip the gradient, whose norm `reduce` gave, and step."""
        ...

    def skip(self) -> None:
        """Forget the gradient instead."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state as torch's optimizer has it, whole on every rank. Collective."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what any engine's `state_dict` gave, after the network has its weights."""
        ...


def _in_order_of(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in its parameter's order in memory: torch's fused optimizers ignore the strides of gradients."""
    for layout in (torch.contiguous_format, torch.channels_last):
        if parameter.is_contiguous(memory_format=layout) and gradient.is_contiguous(memory_format=layout):
            return gradient
    return torch.empty_like(parameter).copy_(gradient)


class TorchEngine:
    """Plain torch. On several ranks the gradients of a step and what was observed travel in one all-reduce after the
    backward pass: a search network has a few megabytes of weights, and hooks in the backward pass (DDP) would keep it
    from `torch.autograd.grad`, by which α and weights share one pass.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        grad_clip: float = 5.0,
        group: Group | None = None,
        scale: LossScale | None = None,
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.network, self.optimizer, self.autocast = network, optimizer, autocast
        self.parameters = list(network.parameters())
        self.grad_clip, self.group, self.scale = grad_clip, group or single(), scale or LossScale(enabled=False)
        self.group.broadcast(*self.parameters, *network.buffers())
        self._gradients: Sequence[Tensor] = ()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """See WeightEngine."""
        with self.autocast():
            return self.network(*inputs, **options)

    def backward(
        self, loss: Tensor, others: Sequence[Tensor] = (), added: Sequence[Tensor] = (), last: bool = True
    ) -> Sequence[Tensor]:
        """See WeightEngine."""
        found = self.scale.unscale(torch.autograd.grad(self.scale.scale(loss), [*others, *self.parameters]))
        gradients = found[len(others) :]
        for more in (added, self._gradients):
            gradients = [a + b for a, b in zip(gradients, more, strict=True)] if more else gradients
        self._gradients = gradients
        return found[: len(others)]

    def reduce(self, loss: Tensor, *observed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See WeightEngine."""
        means = self.group.step_mean(loss, *observed, *self._gradients)
        self._gradients = means[1 + len(observed) :]
        return torch.nn.utils.get_total_norm(self._gradients), means[: 1 + len(observed)]

    def step(self, norm: Tensor) -> None:
        """See WeightEngine."""
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = _in_order_of(parameter, gradient)
        torch.nn.utils.clip_grads_with_norm_(self.parameters, self.grad_clip, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.skip()

    def skip(self) -> None:
        """See WeightEngine."""
        self._gradients = ()

    def state_dict(self) -> dict[str, Any]:
        """See WeightEngine."""
        return optimizer_state(self.optimizer)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See WeightEngine."""
        load_optimizer_state(self.optimizer, state)
