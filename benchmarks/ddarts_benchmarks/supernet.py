"""`ddarts bench supernet`: one cell of each stage, fused and reference, by phase; and where the fused one's time goes.

Legend: N batch, C channels, H = W side of the input states, S rounds.
"""

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ddarts.space.primitives import DDARTS
from ddarts.space.topology import num_edges
from ddarts.supernet.network import EXECUTIONS
from ddarts_benchmarks import plots
from ddarts_benchmarks.correct import check_close, failures
from ddarts_benchmarks.machine import copy_bandwidth, matmul_rate
from ddarts_benchmarks.recorder import Call, recorded
from ddarts_benchmarks.registry import Outcome, Settings
from ddarts_benchmarks.rows import Row, row
from ddarts_benchmarks.timing import Contestant, spread, take_turns

logger = logging.getLogger("ddarts.benchmarks")

STEPS = MULTIPLIER = 4
FORWARD, ALL, ALPHA = "forward, no graph", "forward + backward", "forward + backward, α only"
PHASES = (FORWARD, ALL, ALPHA)
REST = "rest: Python and torch"
_STRICT = 1e-7  # in float64, relative to the largest value


@dataclass(frozen=True)
class Cell:
    """A cell of the search network: N, C and the side of what it reads."""

    batch: int
    channels: int
    side: int
    reduction: bool = False
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        kind = f"to {self.side // 2}²" if self.reduction else "stride 1"
        return f"C {self.channels}, {self.side}² {kind}, batch {self.batch}"


SHAPES = ((16, 32, False), (32, 32, True), (32, 16, False), (64, 16, True), (64, 8, False))
CELLS = tuple(Cell(batch, *shape) for batch in (16, 64) for shape in SHAPES)
QUICK = (Cell(4, 4, 16), Cell(4, 8, 16, True))


@dataclass(frozen=True)
class Peak:
    """What the machine reaches: floating-point operations a second of a matrix product, bytes a second of a copy."""

    flops: float
    nbytes: float

    def floor(self, flops: int, nbytes: int) -> float:
        """Seconds below which neither lets the work be done."""
        return max(flops / self.flops, nbytes / self.nbytes)


def measure(settings: Settings) -> Outcome:
    """All cells, or with settings.quick two small ones. WrongKernelError where the fused cell is wrong."""
    return measured(QUICK if settings.quick else CELLS, settings)


def measured(cells: Sequence[Cell], settings: Settings) -> Outcome:
    """These cells."""
    device = settings.device
    for channels, side, reduction in dict.fromkeys((c.channels, c.side, c.reduction) for c in cells):
        _check(Cell(2, channels, min(side, 16), reduction, torch.float64), device)
    peak = Peak(matmul_rate(device), copy_bandwidth(device))
    rows: list[Row] = []
    kernels: list[dict[str, Any]] = []
    for cell in cells:
        made = {name: steps(name, cell, device) for name in EXECUTIONS}
        for phase in PHASES:
            contestants = [Contestant(name, [found[phase]]) for name, found in made.items()]
            seconds = take_turns(contestants, settings.rounds, device)
            case = {"name": str(cell), "batch": cell.batch, "channels": cell.channels, "side": cell.side}
            case["reduction"] = cell.reduction
            baseline = ("reference", seconds["reference"])
            rows += [row("cell", case, phase, name, own, baseline) for name, own in seconds.items()]
            kernels += _kernels(cell, phase, made["fused"][phase], settings, peak, seconds["fused"])
        logger.info("%s: measured", cell)
    summary = {"matmul_flops_per_second": peak.flops, "kernels": kernels}
    return Outcome(rows, [], summary, partial(plots.draw_breakdown, kernels))


def steps(name: str, cell: Cell, device: torch.device) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """The work of each phase; each returns the output, and the gradients that the phase asks for."""
    module, states, weights, grad = _make(name, cell, device)
    inputs = [*states, weights]

    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (module(*inputs),)

    def backward(wanted: Sequence[Tensor]) -> tuple[Tensor, ...]:
        out = module(*inputs)
        return out.detach(), *torch.autograd.grad(out, wanted, grad)

    return {
        FORWARD: forward,
        ALL: partial(backward, [*inputs, *module.parameters()]),
        ALPHA: partial(backward, inputs),  # inside a network the gradient of the states goes on to other cells' α
    }


def _make(name: str, cell: Cell, device: torch.device) -> tuple[nn.Module, list[Tensor], Tensor, Tensor]:
    """The cell, its input states, mixing weights, and a gradient of its output."""
    read = MULTIPLIER * (cell.channels // 2 if cell.reduction else cell.channels)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        module = cast(Any, EXECUTIONS[name])(
            *(DDARTS, STEPS, MULTIPLIER, (read, read), cell.channels), reduction=cell.reduction, after_reduction=False
        )
        states = [torch.randn(cell.batch, read, cell.side, cell.side) for _ in range(2)]
        weights = torch.rand(num_edges(STEPS), len(DDARTS))
        side = cell.side // 2 if cell.reduction else cell.side
        grad = torch.randn(cell.batch, MULTIPLIER * cell.channels, side, side)
    module.to(device, cell.dtype).to(memory_format=torch.channels_last)
    *images, grad = (x.to(device, cell.dtype, memory_format=torch.channels_last) for x in (*states, grad))
    leaves = [x.requires_grad_() for x in (*images, weights.to(device, cell.dtype))]
    return module, leaves[:2], leaves[2], grad


def _check(cell: Cell, device: torch.device) -> None:
    """WrongKernelError unless the fused cell gives the reference's output and gradients, in float64."""
    wanted, got = steps("reference", cell, device), steps("fused", cell, device)
    for phase in PHASES:
        who = f"fused, {cell}, {phase}"
        with failures(who):
            found = got[phase]()
        names = ["the output", "gradient of state 0", "gradient of state 1", "gradient of the mixing weights"]
        right = wanted[phase]()
        names += [f"gradient of parameter {i}" for i in range(len(right) - len(names))]
        check_close(who, found, right, names[: len(right)], _STRICT)


def _kernels(
    cell: Cell, phase: str, step: Callable[[], Any], settings: Settings, peak: Peak, whole: Sequence[float]
) -> list[dict[str, Any]]:
    """A line for each kernel of the fused cell, and one for the rest of its median time."""
    rounds = []
    for _ in range(settings.rounds):
        with recorded(settings.device) as calls:
            step()
        rounds.append(calls)
    found = [_kernel(rounds, kernel, peak) for kernel in dict.fromkeys(call.kernel for call in rounds[0])]
    rest = statistics.median(whole) - sum(line["seconds"]["median"] for line in found)
    found.append({"kernel": REST, "seconds": spread([max(0.0, rest)])})
    return [{"cell": str(cell), "phase": phase, **line} for line in found]


def _kernel(rounds: Sequence[Sequence[Call]], kernel: str, peak: Peak) -> dict[str, Any]:
    mine = [[call for call in calls if call.kernel == kernel] for calls in rounds]
    seconds = spread([sum(call.seconds for call in calls) for calls in mine])
    nbytes, flops = (sum(getattr(call, name) for call in mine[0]) for name in ("nbytes", "flops"))
    floor = peak.floor(flops, nbytes)
    return {
        "kernel": kernel,
        "calls": len(mine[0]),
        "seconds": seconds,
        "bytes": nbytes,
        "flops": flops,
        "floor_seconds": floor,
        "bound_by": "arithmetic" if flops / peak.flops > nbytes / peak.nbytes else "memory",
        "share_of_peak": floor / seconds["median"],
    }
