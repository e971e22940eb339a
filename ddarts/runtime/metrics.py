"""Accuracy and loss of a model over a data set. Legend: N images of a batch, K classes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ddarts.runtime.errors import DdartsError
from ddarts.runtime.ranks.group import Group, single


@dataclass(frozen=True)
class EvalResult:
    """`top1` and `top5` in percent, `loss` the mean over the images."""

    top1: float
    top5: float
    loss: float
    images: int


@torch.no_grad()
def evaluate(
    model_fn: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    group: Group | None = None,
) -> EvalResult:
    """Run `model_fn` (images [N,3,H,W] -> logits [N,K]) over `batches` of (images, labels [N]).

    `loss` is "cross_entropy" or a function (logits, labels) -> losses [N]. Sums stay on the device, so the host waits
    once, at the end. With fewer than 5 classes top5 is 100. The caller puts the model in the mode it wants.
    The ranks of a `group` have a share of the images each, and all get the result for all of them.
    Raises DdartsError where there are no images.
    """
    if isinstance(loss, str) and loss != "cross_entropy":
        raise ValueError(f"loss {loss!r}: cross_entropy, or a function of logits and labels")
    losses_of = _cross_entropy if isinstance(loss, str) else loss
    group = group or single()
    totals = torch.zeros(4, dtype=torch.float64, device=group.device)
    for inputs, labels in batches:
        logits = model_fn(inputs).float()
        labels = labels.to(logits.device, non_blocking=True)
        hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        # Counts are exact in float64 up to 2**53 images.
        seen = hits[:, 0].sum().double(), hits.sum().double(), losses_of(logits, labels).double().sum()
        totals = totals.to(logits.device) + torch.stack([*seen, seen[0].new_tensor(len(labels))])
    top1, top5, total_loss, images = group.total(totals)
    if images == 0:
        raise DdartsError("nothing to evaluate: the data set holds no images")
    return EvalResult(100.0 * top1 / images, 100.0 * top5 / images, total_loss / images, int(images))


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")
