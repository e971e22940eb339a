"""Accuracy and loss of a model over a data set. Legend: N images of a batch, K classes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ddarts.runtime.errors import DdartsError


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
) -> EvalResult:
    """Run `model_fn` (images [N,3,H,W] -> logits [N,K]) over `batches` of (images, labels [N]).

    `loss` is "cross_entropy" or a function (logits, labels) -> losses [N]. Sums stay on the device, so the host waits
    once, at the end. With fewer than 5 classes top5 is 100. The caller puts the model in the mode it wants.
    Raises DdartsError where there are no images.
    """
    if isinstance(loss, str) and loss != "cross_entropy":
        raise ValueError(f"loss {loss!r}: cross_entropy, or a function of logits and labels")
    losses_of = _cross_entropy if isinstance(loss, str) else loss
    totals: Tensor | None = None
    images = 0
    for inputs, labels in batches:
        logits = model_fn(inputs).float()
        labels = labels.to(logits.device, non_blocking=True)
        hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        # Counts are exact in float64 up to 2**53 images.
        sums = torch.stack([hits[:, 0].sum().double(), hits.sum().double(), losses_of(logits, labels).double().sum()])
        totals = sums if totals is None else totals + sums
        images += len(labels)
    if totals is None or images == 0:
        raise DdartsError("nothing to evaluate: the data set holds no images")
    top1, top5, total_loss = totals.tolist()
    return EvalResult(100.0 * top1 / images, 100.0 * top5 / images, total_loss / images, images)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")
