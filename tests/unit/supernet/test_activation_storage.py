"""Half storage of the fused search network: less memory, nearly the same numbers, and overflows are told."""

from collections import Counter

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

import ddarts
from ddarts.config import SearchConfig
from ddarts.config.validate import validate
from ddarts.ops import dispatch, use_backend
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DivergedError, UsageError
from ddarts.runtime.ranks.engines import TorchEngine
from ddarts.search.iteration import Iteration
from ddarts.search.recipes import RECIPES, LossWeights
from ddarts.space.primitives import DARTOPTI, DDARTS
from ddarts.space.topology import num_edges
from ddarts.supernet.alphas import Alphas
from ddarts.supernet.execution import choose
from ddarts.supernet.network import SearchNetwork, frozen_statistics, steady_weights
from tests.bits import assert_same_bits

CPU = torch.device("cpu")
LAYERS, STEPS = 3, 4
# Relative to the largest entry. Half precision keeps 11 bits: a normalised value is off by up to |y| / std · 2^-12, and
# what passes a ReLU or a maximum may change with it.
FORWARD, GRADIENT = 5e-3, 5e-2


def network(execution="fused", storage="float32", space=DDARTS, **options):
    options = {"num_classes": 10, "init_channels": 8, "layers": LAYERS, "steps": STEPS, **options}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return SearchNetwork(space, execution=execution, activation_storage=storage, **options)


def inputs(space=DDARTS):
    return torch.randn(8, 3, 16, 16), torch.rand(LAYERS, num_edges(STEPS), len(space))


def off(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("space", [DDARTS, DARTOPTI], ids=lambda space: space.name)
def test_half_storage_gives_nearly_the_reference_s_numbers(space):
    images, weights = inputs(space)
    found = []
    for made in (network("reference", space=space), network(storage="half", space=space)):
        alphas = weights.clone().requires_grad_()
        logits = made(images, alphas)
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(8))
        of_alphas, *of_weights = torch.autograd.grad(loss, [alphas, *made.parameters()])
        running = [v.flatten() for name, v in made.named_buffers() if "running" in name]
        found.append((logits.detach(), torch.cat(running), of_alphas, torch.cat([g.flatten() for g in of_weights])))
    for actual, expected, allowed in zip(*reversed(found), (FORWARD, FORWARD, GRADIENT, GRADIENT), strict=True):
        assert 0 < off(actual, expected) <= allowed


def test_ablated_networks_are_the_whole_ones_of_the_same_storage():
    images, weights = inputs()
    ablated = torch.cat([weights[:1], torch.rand_like(weights[:1]), weights[2:]])
    made, states = network(storage="half"), []
    with torch.no_grad(), frozen_statistics(made):
        made.resume(made.start(images), weights, 0, record=states)
        with steady_weights(made):
            short = made.ablated(states, ablated[None], [1])
        assert torch.equal(short[0], made(images, ablated))


def saved_bytes(made):
    """By dtype, of all that one pass keeps for its backward pass, each once."""
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x
        return x

    images, weights = inputs()
    with saved_tensors_hooks(pack, lambda x: x):
        logits = made(images, weights.requires_grad_())
        found = Counter()
        for x in kept.values():
            found[x.dtype] += x.untyped_storage().nbytes()
    del logits
    return found


def test_half_storage_halves_most_of_what_is_kept():
    whole, half = saved_bytes(network()), saved_bytes(network(storage="half"))
    assert whole[torch.float16] == 0
    assert half.total() == whole.total() - half[torch.float16]
    assert half.total() < 0.7 * whole.total()  # with the stacked weights, which count in so small a network


def iteration(made):
    alphas = Alphas(range(LAYERS), num_edges(STEPS), len(DDARTS))
    engine = TorchEngine(made, torch.optim.SGD(made.parameters(), 0.1), grad_clip=5.0)
    recipe = RECIPES["paper"](LAYERS, LossWeights(9.0, 0.7))
    return Iteration(made, alphas, torch.optim.Adam([alphas.logits]), engine, recipe, seed=0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("row", [0, -1], ids=["first edge", "last edge"])
@pytest.mark.parametrize("step", ["architecture_step", "weight_step"])
def test_an_overflow_stops_the_search_and_is_named(step, row, sign):
    """Also where a ReLU would hide it. In float32, BN takes the size of the weights away again."""
    batch = inputs()[0], torch.arange(8)
    for storage in ("float32", "half"):
        search = iteration(network(storage=storage))
        cell = search.network.cells[1]
        with torch.no_grad():
            mixes = cell._ops[row]._ops[5].op[2].weight  # dil_conv_3x3: ReLU, depthwise, pointwise, BN
            mixes.copy_(mixes.abs() * sign * 1e7)
            cell._ops[row]._ops[5].op[1].weight.abs_()
        before = [p.detach().clone() for p in (*search.network.parameters(), search.alphas.logits)]
        if storage == "float32":
            getattr(search, step)(batch, 0)
            continue
        words = "dil_conv_3x3: --activation_storage half holds no number beyond 65504"
        with pytest.raises(DivergedError, match=rf"first in cell 1, edge \d ← \d, {words}\); nothing was updated"):
            getattr(search, step)(batch, 0)
        assert_same_bits([p.detach() for p in (*search.network.parameters(), search.alphas.logits)], before)


TINY = {
    "dataset": "digits",
    "image_size": 8,
    "init_channels": 2,
    "layers": 3,
    "batch_size": 128,
    "steps": 2,
    "multiplier": 2,
    "epochs": 1,
    "device": "cpu",
}


def run(out, name, **options):
    ddarts.search(SearchConfig(out=str(out), save=name, **{**TINY, **options}))
    return CheckpointStore(out / "search" / name / "checkpoints").load()[0]


def test_a_search_resumes_with_the_same_bits_and_with_another_storage(tmp_path):
    half = {"activation_storage": "half"}
    whole = run(tmp_path, "whole", **half)
    stopped = run(tmp_path, "parts", max_steps=3, **half)
    resumed = {"resume": str(tmp_path / "search" / "parts")}
    assert_same_bits(run(tmp_path, "parts", **resumed, **half), whole)
    plain = run(tmp_path, "plain", max_steps=3)
    other = run(tmp_path, "plain", resume=str(tmp_path / "search" / "plain"), **half)
    assert layout(plain) == layout(stopped) and layout(other) == layout(whole)


def layout(state):
    """What a checkpoint holds, without the numbers."""
    if isinstance(state, dict):
        return {key: layout(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [layout(value) for value in state]
    return (state.dtype, tuple(state.shape)) if isinstance(state, torch.Tensor) else type(state)


def test_the_reference_has_no_other_storage():
    with pytest.raises(ValueError, match="activation_storage is 'half': of fused execution only"):
        network("reference", "half")
    with pytest.raises(ValueError, match="activation_storage is 'bf16'; allowed are float32, half"):
        network(storage="bf16")


@pytest.mark.parametrize(
    ("options", "rest"),
    [
        ({"supernet": "reference"}, "; leave it out, or --supernet reference"),
        ({"amp": True}, ", which computes in fp32 only; leave it out, or --amp and --precision"),
        ({"precision": "bf16"}, ", which computes in fp32 only; leave it out, or --amp and --precision"),
    ],
)
def test_what_it_contradicts_is_refused(options, rest):
    with pytest.raises(UsageError, match=f"^--activation_storage half: is of the fused search network{rest}$"):
        validate(SearchConfig(activation_storage="half", **options))


def test_it_is_refused_where_the_fused_network_cannot_run(monkeypatch):
    monkeypatch.setattr(dispatch, "problem", lambda name: "not built" if name == "cpp" else None)
    with pytest.raises(UsageError, match="^--activation_storage half: .* needs the compiled operators$"):
        choose("auto", CPU, "fp32", "half")
    with use_backend("reference"):
        assert choose("fused", CPU, "fp32", "half") == "fused"
