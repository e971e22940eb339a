"""`ddarts bench kernels`: mixed_sum on the nodes of the supernet, and threshold, against plain torch and numpy."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch

from ddarts.genotype.parse import METHODS
from ddarts.ops import use_backend
from ddarts.ops.dispatch import interpreted, problem
from ddarts_benchmarks import nodes, parses, sums
from ddarts_benchmarks.correct import WrongKernelError, check_equal, failures
from ddarts_benchmarks.machine import copier
from ddarts_benchmarks.nodes import FULL, Case, Node, Variant
from ddarts_benchmarks.parses import Stack
from ddarts_benchmarks.registry import Outcome, Settings
from ddarts_benchmarks.rows import Copy, Row, cost_of_remaining, row
from ddarts_benchmarks.timing import Contestant, buffer_sets, take_turns

logger = logging.getLogger("ddarts.benchmarks")

BACKENDS = {"cpu": ("reference", "cpp"), "cuda": ("reference", "triton", "cuda")}
STAGES = ((16, 32), (32, 16), (64, 8))  # channels and side in the three stages of a supernet for 32x32 images
NODES = tuple(Node(edges, batch, *stage) for batch in (16, 96) for edges in (2, 5) for stage in STAGES)
QUICK = (Node(2, 16, 16, 32), Node(2, 16, 64, 8))
COMPILED = tuple(node for node in NODES if node.edges == 2)  # torch.compile takes seconds for each
STACKS = ((13, 27, 12), (8, 14, 7))


def measure(settings: Settings) -> Outcome:
    """Everything, or with settings.quick a few cases. WrongKernelError where a contestant is wrong."""
    backends, left_out = _available(settings.device)
    rows: list[Row] = []
    for node in _nodes(settings):
        cases = _cases(node, settings.device)
        for variants in _groups(node, settings.quick):
            rows += _sums(cases, variants, backends, settings, left_out)
        logger.info("%s: measured", node)
    for shape in STACKS:
        for method in METHODS:
            rows += _parses(Stack(shape, method), backends, settings)
    if settings.quick:
        left_out.append(f"with --quick: torch.compile, and all nodes but {len(QUICK)}")
    return Outcome(rows, left_out)


def _available(device: torch.device) -> tuple[list[str], list[str]]:
    """(backends that run on the device, a line for each that could but is not there)."""
    reasons = {backend: problem(backend) for backend in BACKENDS[device.type]}
    if interpreted() and "triton" in reasons:
        reasons["triton"] = "TRITON_INTERPRET=1: its interpreter is for tests"
    return [b for b, reason in reasons.items() if not reason], [f"{b}: {r}" for b, r in reasons.items() if r]


def _nodes(settings: Settings) -> Sequence[Node]:
    found = QUICK if settings.quick else NODES
    if settings.device.type == "cpu":
        return found
    return [*found, *(Node(n.edges, n.batch, n.channels, n.side, torch.bfloat16) for n in found)]


def _groups(node: Node, quick: bool) -> Iterator[tuple[Variant, ...]]:
    """The variants that take turns with each other."""
    yield (FULL,)
    yield (nodes.GIVEN,)
    yield (nodes.WEIGHTS_ONLY,)
    if node in QUICK:
        yield (nodes.LOGITS,)
    if node.edges == max(n.edges for n in (QUICK if quick else NODES)):
        yield nodes.MASKED
        yield nodes.MASKED_FORWARD


def _cases(node: Node, device: torch.device) -> list[Case]:
    """Sets of buffers: one on a CPU."""
    count = buffer_sets(len(node.norm) * node.tensor_bytes, device)
    return [nodes.make_case(node, device, seed) for seed in range(count)]


def _sums(
    cases: Sequence[Case], variants: Sequence[Variant], backends: Sequence[str], settings: Settings, left_out: list[str]
) -> list[Row]:
    """Rows of one node: all variants and contestants in turns, behind a copy of the inputs' bytes."""
    node = cases[0].node
    contestants: dict[tuple[Variant, str], Contestant] = {}
    for variant in variants:
        wanted = sums.truth(cases[0], variant)
        compiles = not settings.quick and variant == FULL and node in COMPILED
        for name in ("eager", *(["torch.compile"] if compiles else []), *backends):
            who = f"{name} on mixed_sum, {node}, {variant.name}"
            made = _contestant(name, cases, variant)
            try:
                _checked(made, who, wanted)
                contestants[variant, name] = made
            except WrongKernelError as error:
                if name != "torch.compile":  # not ours: it does not stop the run
                    raise
                left_out.append(str(error))
    copied = len(node.norm) * node.tensor_bytes
    turns = [copier(copied, settings.device), *contestants.values()]
    found = take_turns(turns, settings.rounds, settings.device)
    seconds = {key: found[contestant.name] for key, contestant in contestants.items()}
    copy = Copy(2 * copied, found["copy"])
    return [_sum_row(node, variant, variants[0], name, seconds, copy) for variant, name in contestants]


def _contestant(name: str, cases: Sequence[Case], variant: Variant) -> Contestant:
    title = f"{name}, {variant.name}"
    if name == "torch.compile":
        function = sums.compiled(cases[0], variant)
        return Contestant(title, [sums.step(function, case, variant) for case in cases])
    if name == "eager":
        return Contestant(title, [sums.step(sums.plain(case, variant), case, variant) for case in cases])
    steps = [sums.step(sums.operator(case, variant), case, variant) for case in cases]
    return Contestant(title, steps, partial(use_backend, name))


def _checked(made: Contestant, who: str, wanted: sums.Results) -> None:
    """WrongKernelError unless its first step computes what is wanted."""
    with made.context(), failures(who):
        results = made.steps[0]()
    sums.check(who, results, wanted)


def _sum_row(
    node: Node, variant: Variant, full: Variant, name: str, seconds: dict[tuple[Variant, str], list[float]], copy: Copy
) -> Row:
    own, nbytes = seconds[variant, name], node.bytes_moved(variant)
    case = {"name": str(node), "edges": node.edges, "shape": node.shape, "keep": variant.share}
    found = row("mixed_sum", case, variant.name, name, own, ("eager", seconds[variant, "eager"]), nbytes, copy)
    if full in (nodes.MASKED[0], nodes.MASKED_FORWARD[0]):
        found["cost_of_remaining"] = cost_of_remaining(own, nbytes, seconds[full, name], node.bytes_moved(full))
    return found


def _parses(stack: Stack, backends: Sequence[str], settings: Settings) -> list[Row]:
    """Rows of one stack of cells."""
    alphas = stack.draw(settings.device)
    contestants = [Contestant("numpy", [parses.in_numpy(stack, alphas)])]
    wanted = parses.truth(stack, alphas)
    run = parses.operator(stack, alphas)
    nbytes = 0
    for backend in backends:
        who = f"{backend} on threshold, {stack}"
        with use_backend(backend), failures(who):
            results = run()
            found = parses.kept(*results)
        check_equal(who, found, wanted)
        nbytes = sum(x.nbytes for x in (alphas, *results))
        contestants.append(Contestant(backend, [run], partial(use_backend, backend)))
    seconds = take_turns(contestants, settings.rounds, settings.device)
    case: dict[str, Any] = {"name": str(list(stack.shape)), "shape": stack.shape}
    baseline = ("numpy", seconds["numpy"])
    return [row("threshold", case, stack.method, name, own, baseline, nbytes, None) for name, own in seconds.items()]
