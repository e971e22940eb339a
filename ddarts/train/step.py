"""One training step: forward, loss, backward, clipping, update. Legend: N images of a batch, K classes.

On a GPU the host does not wait for a step. Whether a loss was finite is decided on the device, which then leaves out
this update and all that follow, and remembers the step; `check` asks for it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from ddarts.runtime.errors import DivergedError
from ddarts.runtime.parts import split, totals, weighted
from ddarts.runtime.profiling import span
from ddarts.runtime.ranks.group import Group, single

SMALLEST_SCALE = 1.0
_SCALER = ("scale", "_growth_tracker")  # what changes in a scaler's state


@dataclass(frozen=True)
class StepReport:
    """What a step saw, on the device: `loss` of the main classifier (scalar), `correct` images of the batch."""

    loss: Tensor
    correct: Tensor


class Stepper:
    """Steps of one network.

    forward: the network as it is to be called: compiled, say, or DDP on the ranks of `group`. parts: a batch is worked
    off in so many. autocast and scaler are those of the precision, as in `runtime.device`.
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
        parts: int = 1,
        group: Group | None = None,
    ) -> None:
        self.forward, self.optimizer, self.scaler, self.autocast = forward, optimizer, scaler, autocast
        self.parameters = list(model.parameters())
        self.label_smoothing, self.auxiliary_weight, self.grad_clip = label_smoothing, auxiliary_weight, grad_clip
        self.parts, self.group = parts, group or single()
        device = self.parameters[0].device
        self._waits = device.type == "cpu"  # nothing to wait for there: every step is checked before its update
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)

    def step(self, images: Tensor, labels: Tensor, number: int) -> StepReport:
        """Step the weights once on images [N, 3, H, W] and labels [N]. DivergedError may come at a later step."""
        self.optimizer.zero_grad(set_to_none=True)
        seen, parts = [], split((images, labels), self.parts)
        for share, part in parts:
            total, loss, correct = self._losses(*part)
            total, loss = weighted(total, share), weighted(loss.detach(), share)
            self._backward(total, last=part is parts[-1][1])
            seen.append([total.detach(), loss, correct])
        with span("update"):
            norm, total, loss, correct = self._reduce(*totals(seen))
            self._note(~torch.isfinite(total), number)
            self._update(norm, number)
        return StepReport(loss, correct)

    def _losses(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss to descend on, that of the main classifier, and the number of images that this one gets right."""
        with span("forward"), self.autocast():
            output = self.forward(images)
            logits, auxiliary = output if isinstance(output, tuple) else (output, None)
            loss = total = self._loss(logits, labels)
            if auxiliary is not None:
                total = loss + self.auxiliary_weight * self._loss(auxiliary, labels)
        return total, loss, (logits.detach().argmax(1) == labels).sum()

    def _backward(self, total: Tensor, last: bool) -> None:
        """Add to the gradients. On several ranks DDP reduces them meanwhile, with the last part of the batch."""
        ddp = self.forward if isinstance(self.forward, DistributedDataParallel) else None
        with span("backward"), nullcontext() if last or ddp is None else ddp.no_sync():
            self.scaler.scale(total).backward()

    def _reduce(self, *seen: Tensor) -> list[Tensor]:
        """The norm of the gradient, which is clipped, and the means over the ranks of what was seen."""
        self.scaler.unscale_(self.optimizer)
        return [nn.utils.clip_grad_norm_(self.parameters, self.grad_clip), *self.group.step_mean(*seen)]

    def check(self) -> None:
        """Raise DivergedError if a loss so far was not finite, or no loss scale is small enough. The host waits."""
        bad = self._bad_step.item()
        if bad >= 0:
            where = self.group.at_fault() if self._waits else ""
            raise DivergedError(
                f"step {bad}: the loss{where} or its gradient is not finite; nothing was updated from it"
            )
        if self.scales and self.scaler.get_scale() < SMALLEST_SCALE:
            raise DivergedError("fp16 gradients overflow at every loss scale: use --precision bf16 or fp32")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        scaler = {name: self.scaler.state_dict()[name] for name in _SCALER} if self.scales else {}
        return {"optimizer": self.optimizer.state_dict(), "scaler": scaler, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave, after the network has its weights."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scales and state["scaler"]:
            self.scaler.load_state_dict({**self.scaler.state_dict(), **state["scaler"]})
        self.skipped.copy_(state["skipped"])

    @property
    def scales(self) -> bool:
        """Whether losses are scaled (fp16), so that updates may be left out."""
        return self.scaler.is_enabled()

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
        if self.scales:  # overflows are its business: it leaves this update out and lowers the scale
            self.skipped += overflow
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return
        self._note(overflow, number)
        self.optimizer.found_inf = (self._bad_step >= 0).float()  # type: ignore[attr-defined]
        self.optimizer.step()
