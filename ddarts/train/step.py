"""One training step: forward, loss, backward, clipping, update. Legend: N images of a batch, K classes.

On a GPU the host does not wait for a step. Whether a loss was finite is decided on the device, which then leaves out
this update and all that follow, and remembers the step; `check` asks for it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddarts.runtime.errors import DivergedError

SMALLEST_SCALE = 1.0


@dataclass(frozen=True)
class StepReport:
    """What a step saw, on the device: `loss` of the main classifier (scalar), `correct` images of the batch."""

    loss: Tensor
    correct: Tensor


class Stepper:
    """Steps of one network.

    forward: the network as it is to be called (compiled, say). precision's autocast and scaler as in `runtime.device`.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Tensor], Tensor | tuple[Tensor, Tensor]],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        autocast: Callable[[], AbstractContextManager],
        *,
        label_smoothing: float,
        auxiliary_weight: float,
        grad_clip: float,
    ) -> None:
        self.forward, self.optimizer, self.scaler, self.autocast = forward, optimizer, scaler, autocast
        self.parameters = list(model.parameters())
        self.label_smoothing, self.auxiliary_weight, self.grad_clip = label_smoothing, auxiliary_weight, grad_clip
        device = self.parameters[0].device
        self._waits = device.type == "cpu"  # nothing to wait for there: every step is checked before its update
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)

    def step(self, images: Tensor, labels: Tensor, number: int) -> StepReport:
        """Step the weights once on images [N, 3, H, W] and labels [N]. DivergedError may come at a later step."""
        with self.autocast():
            output = self.forward(images)
            logits, auxiliary = output if isinstance(output, tuple) else (output, None)
            loss = total = self._loss(logits, labels)
            if auxiliary is not None:
                total = loss + self.auxiliary_weight * self._loss(auxiliary, labels)
        self._note(~torch.isfinite(total), number)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.grad_clip)
        self._update(norm, number)
        return StepReport(loss.detach(), (logits.detach().argmax(1) == labels).sum())

    def check(self) -> None:
        """Raise DivergedError if a loss so far was not finite, or no loss scale is small enough. The host waits."""
        bad = self._bad_step.item()
        if bad >= 0:
            raise DivergedError(f"step {bad}: the loss or its gradient is not finite; nothing was updated from it")
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            raise DivergedError("fp16 gradients overflow at every loss scale: use --precision bf16 or fp32")

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(wide, labels, label_smoothing=self.label_smoothing)

    def _note(self, bad: Tensor, number: int) -> None:
        """Remember the first bad step; where the host need not wait for the answer, stop at once."""
        self._bad_step = torch.where((self._bad_step < 0) & bad, number, self._bad_step)
        if self._waits:
            self.check()

    def _update(self, norm: Tensor, number: int) -> None:
        overflow = ~torch.isfinite(norm)
        if self.scaler.is_enabled():  # overflows are its business: it leaves this update out and lowers the scale
            self.skipped += overflow
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return
        self._note(overflow, number)
        self.optimizer.found_inf = (self._bad_step >= 0).float()  # type: ignore[attr-defined]
        self.optimizer.step()
