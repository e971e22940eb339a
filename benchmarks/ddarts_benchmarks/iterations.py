"""The contestants of `bench search`: ways to do one iteration of the same search."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from ddarts.runtime.ranks.engines import TorchEngine
from ddarts.runtime.ranks.group import Group
from ddarts.search.guard import Guard
from ddarts.search.iteration import Iteration
from ddarts.search.phases import Bilevel, Phase
from ddarts.search.recipes import LossWeights, PaperRecipe
from ddarts.search.replay import WARM_UP, CudaGraphs, replaying
from ddarts.space.primitives import space
from ddarts.space.topology import num_edges
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.network import EXECUTIONS, SearchNetwork
from ddarts_benchmarks.published import ABLATION, ADAM, CLIP, SGD, ZERO_ONE, Batch, PlainCell, PublishedSearch

CLASSES, STEPS = 10, 4
PUBLISHED = ("published", "published_channels_last")
EXACT = ("exact_reference", "ours")
COMPILED = "exact_compiled_sums"  # on supernet/reference.py: node sums compiled, pools once per state
HALF = "ours_half"  # with the outputs of stages stored in half precision
UNRECORDED = "ours_without_graphs"  # on a GPU, where ours is recorded as a CUDA graph
_EXECUTIONS = {"ours": "fused", HALF: "fused", UNRECORDED: "fused", "exact_reference": "plain"}


@dataclass(frozen=True)
class Case:
    """A search network on square images, and who searches with it."""

    space: str
    batch: int
    channels: int = 16
    layers: int = 8
    side: int = 32
    contestants: tuple[str, ...] = (*PUBLISHED, EXACT[0], COMPILED, EXACT[1], HALF)
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.space}, batch {self.batch}"


@dataclass
class Running:
    """A contestant at work: `iterate` is one iteration, `warm` the shortest work that touches all its memory."""

    iterate: Callable[[], object]
    warm: Callable[[], object]


def running(name: str, case: Case, device: torch.device) -> Running:
    """The contestant `name`, from the same weights, α and batches as every other."""
    layout = torch.contiguous_format if name == "published" else torch.channels_last
    valid, train = batches(case, device, layout)
    if name in PUBLISHED:
        published = PublishedSearch(make_network(name, case, device, layout), list(start(case).to(device)))
        return Running(partial(published.iterate, valid, train), partial(published.weight_step, train))
    exact = exact_iteration(name, case, device)
    steps = itertools.count()  # the ablation draws differ from one iteration to the next
    phase: Phase = Bilevel(exact, itertools.repeat(valid))
    graphs = name in ("ours", HALF) and device.type == "cuda"
    if graphs:
        phase = replaying(exact, CudaGraphs(device))(phase)

    def iterate() -> None:
        phase.run(phase.batches(train), next(steps))

    def warm() -> None:
        for _ in range(WARM_UP + 2 if graphs else 1):
            iterate()

    return Running(iterate, warm)


def work(name: str, case: Case, device: torch.device) -> Callable[[], object]:
    """One iteration of the contestant `name`."""
    return running(name, case, device).iterate


def exact_iteration(name: str, case: Case, device: torch.device, group: Group | None = None) -> Iteration:
    """The exact schedule with the recipe of the article, for one of EXACT, COMPILED or HALF."""
    network = make_network(name, case, device, torch.channels_last)
    alphas = Alphas(range(case.layers), num_edges(STEPS), len(space(case.space))).to(device, case.dtype)
    with torch.no_grad():
        alphas.logits.copy_(start(case))
    return Iteration(
        network,
        alphas,
        torch.optim.Adam([alphas.logits], **ADAM, fused=True),
        TorchEngine(network, torch.optim.SGD(network.parameters(), **SGD, fused=True), grad_clip=CLIP, group=group),
        PaperRecipe(alphas.sets, LossWeights(ZERO_ONE, ABLATION)),
        seed=0,
        group=group,
        guard=Guard(device) if device.type == "cuda" and group is None else None,
    )


def start(case: Case) -> Tensor:
    """α of all cells: near zero, as early in a search."""
    shape = case.layers, num_edges(STEPS), len(space(case.space))
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def make_network(name: str, case: Case, device: torch.device, layout: torch.memory_format) -> SearchNetwork:
    """The contestant's search network; all have the same weights."""
    with torch.random.fork_rng([]), patch.dict(EXECUTIONS, plain=PlainCell):
        torch.manual_seed(0)
        network = SearchNetwork(
            space(case.space),
            num_classes=CLASSES,
            init_channels=case.channels,
            layers=case.layers,
            steps=STEPS,
            execution=_EXECUTIONS.get(name, "reference"),
            activation_storage="half" if name == HALF else "float32",
        )
    return network.to(device, case.dtype).to(memory_format=layout)


def batches(case: Case, device: torch.device, layout: torch.memory_format) -> tuple[Batch, Batch]:
    """A validation and a training batch: random pixels, random labels."""
    found = []
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(case.batch, 3, case.side, case.side, generator=generator)
        labels = torch.randint(CLASSES, (case.batch,), generator=generator)
        found.append((images.to(device, case.dtype, memory_format=layout), labels.to(device)))
    return found[0], found[1]
