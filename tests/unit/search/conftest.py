"""The recorded iteration of the published search (float64, C 4, 8 cells, batch 8) and what the tests build from it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ddarts.runtime.ranks.engines import TorchEngine
from ddarts.search.iteration import Iteration
from ddarts.search.recipes import RECIPES, LossWeights
from ddarts.space.primitives import DDARTS
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.network import SearchNetwork, load_published

CASE = Path(__file__).parents[2] / "data_files" / "search_step_case.npz"
CELLS = 8
PREFIX = "state_dict_before/"


class Recorded:
    """Arrays of the case as float64 tensors; `cells(name)` stacks the per-cell ones."""

    def __init__(self) -> None:
        self._arrays = np.load(CASE, allow_pickle=False)
        self.train = self["x_train"], self["y_train"]
        self.valid = self["x_valid"], self["y_valid"]

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self._arrays[name])

    def cells(self, name: str, count: int = CELLS) -> torch.Tensor:
        return torch.stack([self[f"{name}/{i}"] for i in range(count)])

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {k.removeprefix(PREFIX): self[k] for k in self._arrays.files if k.startswith(PREFIX)}


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture(params=["reference", "fused"])
def build(recorded, request):
    """build(recipe, **options): the recorded network with α, optimizers and an Iteration in that recipe."""

    def make(recipe: str, execution: str = request.param, sequence=range(CELLS), **options) -> SimpleNamespace:
        network = SearchNetwork(DDARTS, num_classes=10, init_channels=4, layers=CELLS, execution=execution).double()
        load_published(network, recorded.state_dict())
        alphas = Alphas(sequence, 14, 7).double()
        with torch.no_grad():
            alphas.logits.copy_(recorded.cells("alphas_before", alphas.sets))
        alpha_optimizer = torch.optim.Adam([alphas.logits], lr=3e-3, betas=(0.9, 0.999), weight_decay=1e-3)
        weight_optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9, weight_decay=3e-4)
        rule = RECIPES[recipe](alphas.sets, LossWeights(zero_one=9.0, ablation=0.7))
        iteration = Iteration(
            network, alphas, alpha_optimizer, TorchEngine(network, weight_optimizer), rule, seed=2, **options
        )
        return SimpleNamespace(network=network, alphas=alphas, iteration=iteration, recipe=rule)

    return make
