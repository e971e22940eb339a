"""Forward + backward of the weighted mixed-op sum: compiled kernel, torch reference and the plain eager sum.

    python benchmarks/bench_mixed_sum.py [--quick] [--threads T] [--keep_memory] [--json FILE]

Every contestant is first compared with float64 and the benchmark refuses to time a wrong one. Contestants take turns
(A B C A B C ...) in one process, so that a ratio compares neighbours in time; ratios are given as min, median, max.
A shape is a node of the supernet: n = 7 operations on each incoming edge, [batch, C, H, W].
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import ddarts.ops
from ddarts.ops.library import library
from ddarts.runtime.processor import keep_freed_memory

SHAPES = [  # (inputs, batch, channels, height = width): nodes with two and five incoming edges
    (14, 16, 16, 32),
    (35, 16, 16, 32),
    (14, 96, 16, 32),
    (35, 96, 32, 16),
    (35, 96, 64, 8),
]
QUICK = SHAPES[:1]


def plain(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
    """What the published code writes."""
    return sum(w * x for w, x in zip(weights, inputs, strict=True))


def with_backend(backend: str) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """mixed_sum on one backend."""

    def run(inputs: Sequence[Tensor], weights: Tensor) -> Tensor:
        ddarts.ops.use_backend(backend)
        return ddarts.ops.mixed_sum(inputs, weights)

    return run


CONTESTANTS = {"cpp": with_backend("cpp"), "reference": with_backend("reference"), "eager": plain}


def make_case(shape: tuple[int, int, int, int], dtype: torch.dtype, layout: torch.memory_format) -> tuple:
    """(inputs, weights, output gradient) for one shape; seeded."""
    n, batch, channels, side = shape
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        x = torch.randn(batch, channels, side, side, generator=generator)
        return x.to(dtype).contiguous(memory_format=layout)

    inputs = [draw().requires_grad_() for _ in range(n)]
    return inputs, torch.rand(n, generator=generator, dtype=dtype).requires_grad_(), draw()


def step(function: Callable, case: tuple) -> tuple[Tensor, ...]:
    """Output and all gradients."""
    inputs, weights, grad = case
    out = function(inputs, weights)
    return (out, *torch.autograd.grad(out, [*inputs, weights], grad))


def check(name: str, case: tuple) -> None:
    """Exits when a contestant is wrong: relative to the largest value, far above rounding and far below any bug."""
    inputs, weights, grad = case
    wide = ([x.detach().double().requires_grad_() for x in inputs], weights.detach().double().requires_grad_())
    for got, want in zip(step(CONTESTANTS[name], case), step(plain, (*wide, grad.double())), strict=True):
        error = (got.double() - want).abs().max() / want.abs().max()
        if not error < 1e-4:
            sys.exit(f"{name} is wrong (relative error {error:.1e}): not timed")


def measure(case: tuple, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for name in CONTESTANTS:
        check(name, case)
    for _ in range(rounds):
        for name, function in CONTESTANTS.items():
            start = time.perf_counter()
            step(function, case)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def copy_bandwidth(numel: int = 1 << 24, rounds: int = 5) -> float:
    """Bytes moved each second (read + written) by a plain copy, the best of a few rounds."""
    source, target = torch.ones(numel), torch.empty(numel)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - start)
    return 2 * source.numel() * source.element_size() / best


def spread(values: Sequence[float]) -> dict[str, float]:
    """min, median and max."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def row(shape: tuple[int, int, int, int], layout: str, seconds: dict[str, list[float]], bandwidth: float) -> dict:
    """One result: seconds, how many times faster cpp is, share of the copy's bandwidth."""
    n, batch, channels, side = shape
    # forward: n read, 1 written; backward: gradient and n read, n written
    traffic = 4 * batch * channels * side * side * ((n + 1) + (1 + 2 * n))
    return {
        "shape": {"inputs": n, "batch": batch, "channels": channels, "side": side},
        "layout": layout,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "cpp_faster_than": {
            name: spread([other / ours for other, ours in zip(values, seconds["cpp"], strict=True)])
            for name, values in seconds.items()
            if name != "cpp"
        },
        "share_of_copy_bandwidth": traffic / min(seconds["cpp"]) / bandwidth,
    }


def main() -> None:
    """Runs all shapes and prints a line for each."""
    parser = argparse.ArgumentParser(description="Time the weighted mixed-op sum, forward + backward.")
    parser.add_argument("--quick", action="store_true", help="smallest shape, two rounds")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--keep_memory", action="store_true", help="keep freed memory instead of returning it")
    options = parser.parse_args()
    if options.keep_memory:
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    rounds = 2 if options.quick else options.rounds
    bandwidth = copy_bandwidth()
    rows = []
    for shape in QUICK if options.quick else SHAPES:
        for layout in ("contiguous_format", "channels_last"):
            case = make_case(shape, torch.float32, getattr(torch, layout))
            rows.append(row(shape, layout, measure(case, rounds), bandwidth))
            print(describe(rows[-1]), flush=True)
    result = {
        "benchmark": "mixed_sum forward + backward, float32",
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": options.threads},
        "keep_memory": options.keep_memory,
        "torch": torch.__version__,
        "capability": library().capability,
        "copy_bytes_per_second": bandwidth,
        "rounds": rounds,
        "results": rows,
    }
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def describe(result: dict) -> str:
    """One line of the table."""
    ratios = {name: "{min:.2f} {median:.2f} {max:.2f}".format(**r) for name, r in result["cpp_faster_than"].items()}
    s = result["shape"]
    return (
        f"n {s['inputs']:2d}  [{s['batch']}, {s['channels']}, {s['side']}, {s['side']}]  {result['layout']:17s}  "
        f"cpp {1e3 * result['seconds']['cpp']['median']:7.2f} ms  faster than eager: {ratios['eager']}, "
        f"reference: {ratios['reference']}  copy bandwidth: {result['share_of_copy_bandwidth']:.0%}"
    )


if __name__ == "__main__":
    main()
