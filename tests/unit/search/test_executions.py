"""A search goes the same way whatever executes its network, and `--supernet` says what does."""

import pytest
import torch

import ddarts
from ddarts.cli import main
from ddarts.config import SearchConfig
from ddarts.config.validate import validate
from ddarts.genotype.files import read
from ddarts.ops import dispatch, use_backend
from ddarts.runtime.errors import UsageError
from ddarts.runtime.ranks.engines import TorchEngine
from ddarts.search.iteration import Iteration
from ddarts.search.recipes import RECIPES, LossWeights
from ddarts.space.primitives import DDARTS
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.execution import choose
from ddarts.supernet.network import EXECUTIONS, SearchNetwork
from tests.tolerances import assert_close

CELLS, STEPS, EDGES = 3, 2, 5
CPU = torch.device("cpu")


def iteration(execution: str) -> Iteration:
    network = SearchNetwork(
        DDARTS, num_classes=10, init_channels=2, layers=CELLS, steps=STEPS, multiplier=2, execution=execution
    )
    alphas = Alphas(range(CELLS), EDGES, len(DDARTS))
    with torch.no_grad():
        alphas.logits.normal_()
    network.double(), alphas.double()
    return Iteration(
        network,
        alphas,
        torch.optim.Adam([alphas.logits], lr=0.05, betas=(0.9, 0.999), weight_decay=1e-3),
        TorchEngine(network, torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=3e-4)),
        RECIPES["paper"](CELLS, LossWeights(zero_one=9.0, ablation=0.7)),
        seed=2,
    )


def test_twenty_iterations_agree():
    searches = []
    for name in EXECUTIONS:
        torch.manual_seed(5)
        searches.append(iteration(name))
    for step in range(20):
        images, labels = torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.arange(6)
        reports = []
        for search in searches:
            found = search.architecture_step((images, labels), step)
            reports.append((found.ce, found.found.marginal, search.weight_step((images.flip(3), labels), step).ce))
        for expected, actual in zip(*reports, strict=True):
            assert_close(actual, expected, 1e-8)
    expected, actual = (search.alphas.logits.detach() for search in searches)
    assert expected.std() > 0.5
    assert_close(actual, expected, 1e-8)
    for (name, expected), actual in zip(
        searches[0].network.state_dict().items(), searches[1].network.state_dict().values(), strict=True
    ):
        assert torch.allclose(actual, expected, rtol=1e-8, atol=1e-8), name


def test_both_find_the_same_genotype(tmp_path):
    options = {
        "dataset": "digits",
        "image_size": 8,
        "init_channels": 2,
        "layers": 3,
        "steps": 2,
        "multiplier": 2,
        "epochs": 2,
        "batch_size": 240,
        "arch_learning_rate": 0.9,
        "arch_learning_rate_min": 0.2,
        "op_threshold": 0.6,
        "device": "cpu",
        "out": str(tmp_path),
    }
    cells = []
    for name in EXECUTIONS:
        ddarts.search(SearchConfig(**options, save=name, supernet=name))
        cells.append(read(tmp_path / "search" / name / "genotype.json").cells)
        assert f"supernet: {name}" in (tmp_path / "search" / name / "config.yaml").read_text()
    assert cells[0] == cells[1]
    assert 0 < sum(len(cell) for cell in cells[0])


@pytest.mark.parametrize(
    ("wanted", "device", "precision", "backend", "expected"),
    [
        ("auto", CPU, "fp32", None, "fused"),
        ("auto", CPU, "bf16", None, "reference"),
        ("auto", torch.device("cuda"), "fp32", None, "fused"),
        ("auto", torch.device("cuda"), "fp32", "cuda", "reference"),
        ("auto", torch.device("cuda"), "fp16", None, "reference"),
        ("auto", CPU, "fp32", "triton", "reference"),
        ("auto", CPU, "fp32", "reference", "reference"),
        ("fused", CPU, "fp32", "reference", "fused"),
        ("reference", CPU, "fp32", None, "reference"),
    ],
)
def test_what_auto_takes(wanted, device, precision, backend, expected, monkeypatch):
    monkeypatch.setattr(dispatch, "problem", lambda name: None)  # as if the compiled operators were there
    with use_backend(backend or "auto"):
        assert choose(wanted, device, precision) == expected


def test_auto_needs_the_compiled_operators(monkeypatch):
    monkeypatch.setattr(dispatch, "problem", lambda name: "not built" if name == "cpp" else None)
    assert choose("auto", CPU, "fp32") == "reference"


def test_the_fused_network_refuses_a_backend_without_its_operators(monkeypatch, tmp_path, capsys):
    advice = "lacks operators of it; choose --backend triton, or --supernet reference"
    with pytest.raises(UsageError, match=f"^--supernet fused: --backend cuda {advice}$"):
        validate(SearchConfig(supernet="fused", backend="cuda"))
    monkeypatch.setenv("DDARTS_BACKEND", "cuda")
    words = ["search", "--dataset", "digits", "--supernet", "fused", "--out", str(tmp_path / "logs")]
    assert main(words) == 2
    assert f"--supernet fused: DDARTS_BACKEND cuda {advice}\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    for options in ({"supernet": "fused", "backend": "cpp"}, {"supernet": "auto"}):
        validate(SearchConfig(**options))


@pytest.mark.parametrize("options", [{"amp": True}, {"precision": "bf16"}])
def test_the_fused_network_refuses_half_precision(options):
    with pytest.raises(UsageError, match="--supernet fused: computes in fp32 only"):
        validate(SearchConfig(supernet="fused", **options))
