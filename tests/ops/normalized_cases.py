"""The weighted sum with batch normalisation: a case of every kind, and the plain torch that it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from ddarts_kernels.layout import accumulation_dtype
from torch import Tensor
from torch.nn import functional as F

import ddarts.ops
from ddarts.ops import Norm
from tests.ops.op_cases import LAYOUTS, gradients, normal

EPS = 1e-5
NONE, BATCH, FIXED = Norm.NONE, Norm.BATCH, Norm.FIXED


@dataclass(frozen=True)
class Case:
    """Arguments of mixed_sum, with the gradient of its output."""

    inputs: list[Tensor]
    weights: Tensor
    grad: Tensor
    source: Sequence[int]
    norm: Sequence[int]
    statistics: tuple[Tensor, Tensor] | None = None
    keep: Tensor | None = None
    logits: bool = False

    def double(self) -> "Case":
        """The same numbers in float64."""
        wide = None if self.statistics is None else tuple(s.double() for s in self.statistics)
        inputs = [x.double() for x in self.inputs]
        return replace(self, inputs=inputs, weights=self.weights.double(), grad=self.grad.double(), statistics=wide)

    def plain(self) -> "Case":
        """The weights in the inputs' dtype, as eager torch needs them."""
        return replace(self, weights=self.weights.to(self.inputs[0].dtype))

    def to(self, device: str) -> "Case":
        """On a device, with the same strides."""
        move = lambda x: None if x is None else x.to(device)  # noqa: E731
        moved = None if self.statistics is None else tuple(s.to(device) for s in self.statistics)
        arguments = {"weights": move(self.weights), "grad": move(self.grad), "keep": move(self.keep)}
        return replace(self, inputs=[x.to(device) for x in self.inputs], statistics=moved, **arguments)


def batch_norm(x: Tensor) -> Tensor:
    """BN by the statistics of the batch; torch's own refuses a channel of a single value."""
    if x.numel() > x.shape[1]:
        return F.batch_norm(x, None, None, training=True, eps=EPS)
    return (x - x) / EPS**0.5


def eager(case: Case, inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """What the published code writes: every term by itself."""
    total = torch.zeros_like(inputs[0]) + 0 * weights.sum()  # depends on something even where all is masked
    values = weights.sigmoid() if case.logits else weights
    for m, u in enumerate(case.source):
        if case.keep is not None and not case.keep[m]:
            continue
        x = inputs[u]
        if case.norm[u] == BATCH:
            x = batch_norm(x)
        elif case.norm[u] == FIXED:
            assert case.statistics is not None
            mean, rstd = (s[u].to(x.dtype).view(-1, *[1] * (x.dim() - 2)) for s in case.statistics)
            x = (x - mean) * rstd
        total = total + values[m] * x
    return total


@dataclass(frozen=True)
class Sizes:
    """How large the numbers are that cancel in the results: w·rstd·x against w·rstd·mean, and so on backwards."""

    output: float
    inputs: float
    weights: float


def sizes(case: Case) -> Sizes:
    """Those of the kept terms."""
    if not case.grad.numel():
        return Sizes(0, 0, 0)
    alive = {u for m, u in enumerate(case.source) if case.keep is None or case.keep[m]}
    statistics = case.statistics or _statistics(case.inputs, case.norm, torch.float64)
    slopes = [1.0 if case.norm[u] == NONE else statistics[1][u].max().item() for u in alive]
    terms = [case.inputs[u].abs().max().item() * slope for u, slope in zip(alive, slopes, strict=True)]
    weight, grad = case.weights.abs().max().item(), case.grad.abs().max().item()
    largest = max(terms, default=0.0)
    inputs = weight * max(slopes, default=0.0) * grad * max(1.0, largest)
    return Sizes(weight * largest * len(case.source), inputs, grad * largest * case.grad.numel() ** 0.5)


def run(case: Case) -> tuple[Tensor, list[Tensor], Tensor]:
    """Output and gradients of the operator, on the backend in use."""
    options = {name: getattr(case, name) for name in ("source", "norm", "statistics", "keep", "logits")}
    return gradients(lambda x, w: ddarts.ops.mixed_sum(x, w, eps=EPS, **options), case.inputs, case.weights, case.grad)


def expected(case: Case) -> tuple[Tensor, list[Tensor], Tensor]:
    """Output and gradients of plain torch."""
    return gradients(lambda x, w: eager(case, x, w), case.inputs, case.weights, case.grad)


def cases(
    dtype: torch.dtype, layout: str, shape: tuple[int, ...], weight_dtype: torch.dtype | None = None
) -> dict[str, Case]:
    """A case of every kind, by name."""
    make, wide = LAYOUTS[layout], accumulation_dtype(dtype)
    inputs = [make(shape, normal(dtype, seed)) for seed in range(4)]
    grad, weights = make(shape, normal(dtype, 9)), normal(weight_dtype or dtype, 5)
    channels = shape[1]
    given = normal(wide, 6)((4, channels)), normal(wide, 7)((4, channels)).abs() + 0.5
    whole = Case(inputs, weights((4,)), grad, range(4), [BATCH, BATCH, NONE, BATCH])
    shared = Case(inputs, weights((6,)), grad, [0, 1, 1, 2, 3, 0], [NONE, BATCH, BATCH, NONE], logits=True)
    poisoned = [x.clone() if u in (1, 2) else x for u, x in enumerate(inputs)]
    for x in (poisoned[1], poisoned[2]):
        x.fill_(float("nan"))
    keep = torch.tensor([True, False, False, True, True, False])
    return {
        "computed": whole,
        "given": replace(whole, statistics=_statistics(inputs, whole.norm, wide)),
        "fixed": replace(whole, norm=[FIXED, NONE, FIXED, FIXED], statistics=given),
        "shared logits": shared,
        "masked": replace(shared, inputs=poisoned, source=[0, 1, 2, 0, 3, 3], keep=keep),
        "all masked": replace(whole, keep=torch.zeros(4, dtype=torch.bool)),
        "far from zero": replace(whole, inputs=[x + 30 if dtype.itemsize > 2 else x for x in inputs]),
    }


def _statistics(inputs: Sequence[Tensor], norm: Sequence[int], wide: torch.dtype) -> tuple[Tensor, Tensor]:
    mean = torch.zeros(len(inputs), inputs[0].shape[1], dtype=torch.float64)
    rstd = torch.ones_like(mean)
    for u, x in enumerate(inputs):
        if norm[u] == BATCH and x.numel():
            flat = x.double().transpose(0, 1).flatten(1)
            mean[u], rstd[u] = flat.mean(1), (flat.var(1, correction=0) + EPS).rsqrt()
    return mean.to(wide), rstd.to(wide)
