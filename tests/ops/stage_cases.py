"""Inputs of the stage operator for its tests. Legend in kernels/ddarts_kernels/stage/reference.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from ddarts_kernels.layout import accumulation_dtype
from ddarts_kernels.stage import reference
from torch import Tensor

from tests.tolerances import FORWARD, GRADIENT, assert_as_accurate

Kinds = tuple[tuple[int, int], ...]  # (kernel size, dilation)
FIRST: Kinds = ((3, 1), (5, 1), (3, 2), (5, 2))


@dataclass(frozen=True)
class Shape:
    """One call: `shared` x (X = 1) or one for each edge, `norm` with BN on load."""

    size: tuple[int, int, int, int]  # N, H, W, C
    kinds: Kinds = FIRST
    edges: int = 2
    stride: int = 1
    shared: bool = True
    norm: bool = False
    groups: int = 1

    @property
    def out_size(self) -> tuple[int, int, int, int]:
        """N, h, w, C."""
        n, h, w, c = self.size
        return n, -(-h // self.stride), -(-w // self.stride), c


SHAPES = tuple(Shape(size) for size in (
    (1, 1, 1, 1), (2, 7, 5, 3), (3, 9, 11, 4), (2, 8, 8, 6), (17, 5, 3, 8), (2, 3, 9, 16), (1, 13, 17, 17),
    (2, 10, 9, 36), (1, 4, 33, 32), (1, 32, 32, 16),
))  # fmt: skip
SHAPES += tuple(replace(s, stride=2, edges=1, norm=True) for s in SHAPES)
SHAPES += (
    Shape((2, 8, 7, 8), ((3, 1),), edges=3, shared=False, norm=True),
    Shape((33, 6, 5, 16), ((5, 1),), edges=2, shared=False, norm=True),
    Shape((2, 9, 8, 12), ((5, 1), (3, 2)), edges=3, shared=False, norm=True, stride=2),
    Shape((2, 9, 8, 5), ((7, 1), (1, 1), (3, 3)), norm=True),
    Shape((2, 9, 8, 5), ((7, 2), (1, 1), (3, 1)), stride=2),
    Shape((2, 9, 10, 8), ((3, 1), (5, 2)), stride=3),
    Shape((6, 9, 8, 5), groups=3, stride=2),
    Shape((34, 5, 4, 16), ((3, 1),), edges=3, shared=False, norm=True, groups=2),
    Shape((4, 7, 8, 12), ((5, 1), (3, 2)), edges=2, norm=True, groups=4),
)
EMPTY = (Shape((0, 5, 4, 8)), Shape((2, 0, 4, 3), norm=True), Shape((2, 4, 0, 16), stride=2))


@dataclass
class Case:
    """Arguments of both operators; `tensors` casts all of them."""

    x: Tensor
    depthwise: list[Tensor]
    pointwise: list[Tensor]
    dilation: list[int]
    stride: int
    mean: Tensor | None
    rstd: Tensor | None
    grads: list[Tensor]
    y: list[Tensor]
    coefficients: Tensor
    groups: int

    def forward_arguments(self) -> tuple:
        """Arguments of stage, in order."""
        operands = (self.x, self.depthwise, self.pointwise, self.dilation, self.stride, self.mean, self.rstd)
        return (*operands, 1e-5, self.groups)

    def backward_arguments(self, need_weights: bool = True) -> tuple:
        """Arguments of stage_backward, in order."""
        statistics = (None if v is None else v[0] for v in (self.mean, self.rstd))  # backward knows no groups
        operands = (self.x, self.depthwise, self.pointwise, self.dilation, self.stride, *statistics)
        return (self.grads, self.y, self.coefficients, *operands, need_weights)

    def to(self, dtype: torch.dtype) -> "Case":
        """Everything in this dtype; what BN needs in its accumulation type."""
        wide = accumulation_dtype(dtype)

        def optional(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.to(wide)

        def each(tensors: Sequence[Tensor]) -> list[Tensor]:
            return [t.to(dtype) for t in tensors]

        return Case(
            self.x.to(dtype), each(self.depthwise), each(self.pointwise), self.dilation, self.stride,
            optional(self.mean), optional(self.rstd), each(self.grads), each(self.y), self.coefficients.to(wide),
            self.groups,
        )  # fmt: skip


def make(shape: Shape, dtype: torch.dtype, fill: Callable[[Sequence[int]], Tensor]) -> Case:
    """Random arguments; weights small enough that y is about as large as x."""
    c, edges = shape.size[3], shape.edges
    inputs = 1 if shape.shared else edges
    grads = [fill(shape.out_size) for _ in range(edges * len(shape.kinds))]
    return Case(
        x=fill((inputs, *shape.size)),
        depthwise=[fill((edges, k, k, c)) for k, _ in shape.kinds],
        pointwise=[fill((edges, c, c)) for _ in shape.kinds],
        dilation=[d for _, d in shape.kinds],
        stride=shape.stride,
        mean=fill((shape.groups, inputs, c)) if shape.norm else None,
        rstd=fill((shape.groups, inputs, c)).abs() + 0.5 if shape.norm else None,
        grads=grads,
        y=[fill((edges, *shape.out_size)) for _ in shape.kinds],
        coefficients=fill((len(shape.kinds), edges, 3, c)),
        groups=shape.groups,
    ).to(dtype)


def flat(result: Sequence) -> list[Tensor]:
    """The tensors of nested lists, in order."""
    return [t for part in result for t in ([part] if isinstance(part, Tensor) else flat(part))]


Run = Callable[[Case], list[Tensor]]


def assert_accurate(case: Case, forward: Run, backward: Run) -> None:
    """Both directions (flattened results) against float64, allowing for eager's own error."""
    wide = case.to(torch.float64)
    exact, eager = (flat(reference.forward(*c.forward_arguments())) for c in (wide, case))
    for i, (k, e, r) in enumerate(zip(forward(case), eager, exact, strict=True)):
        assert k.dtype == e.dtype and k.is_contiguous()
        assert_as_accurate(k, e, r, FORWARD, f"output {i}")
    exact, eager = (flat(reference.backward(*c.backward_arguments())) for c in (wide, case))
    for i, (k, e, r) in enumerate(zip(backward(case), eager, exact, strict=True)):
        assert k.dtype == e.dtype and k.is_contiguous()
        assert_as_accurate(k, e, r, GRADIENT, f"gradient {i}")


def assert_exact(case: Case, forward: Run, backward: Run) -> None:
    """Both directions, of whole numbers, without any error."""
    if case.rstd is not None:
        case.rstd = case.rstd.ceil()
    count, wide = len(case.depthwise), case.to(torch.float64)
    for k, r in zip(forward(case)[:count], flat(reference.forward(*wide.forward_arguments()))[:count], strict=True):
        assert torch.equal(k.double(), r)
    for k, r in zip(backward(case), flat(reference.backward(*wide.backward_arguments())), strict=True):
        exact = r.abs() < 2**22  # larger ones need not be, nor their partial sums
        assert torch.equal(k.double()[exact], r[exact])
