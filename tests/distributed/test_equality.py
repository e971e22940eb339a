"""P processes equal one process with ghost BN of P groups; every engine equals torch's (gloo, 2 and 4 ranks)."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from ghost_norm import make_ghost
from processes import codes, start
from search_ranks import iteration_of, network_of, run
from tolerances import GRADIENT, assert_as_accurate, assert_close

EXACT = 1e-12
DEEPSPEED = importlib.util.find_spec("deepspeed") is not None


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, tmp_path_factory):
    """The number of ranks, and what they found."""
    folder = tmp_path_factory.mktemp(f"ranks{request.param}")
    worker = [sys.executable, str(Path(__file__).with_name("equality_worker.py")), str(folder / "found.pt")]
    processes = start(request.param, [*worker, *(["deepspeed"] if DEEPSPEED else [])], folder / "log")
    assert codes(processes) == [0] * request.param, (folder / "log-0").read_text()[-3000:]
    return request.param, torch.load(folder / "found.pt", weights_only=True)


def _ghost(size, **options):
    network = make_ghost(network_of(), size)
    whole = iteration_of(network, recipe=options.get("recipe", "paper"))
    seen = run(whole, single_level=options.get("single_level", False))
    return seen, whole.alphas.logits.detach(), dict(network.named_parameters())


@pytest.mark.slow
def test_ranks_equal_one_process_with_ghost_bn(ranks):
    size, found = ranks
    cases = {"float64": {}, "official": {"recipe": "official"}, "single level": {"single_level": True}}
    names = {"float64": ["stage 0, float64"], "official": ["stage 0, official"]}
    names["single level"] = ["stage 0, single level"]
    for case, options in cases.items():
        seen, alphas, weights = _ghost(size, **options)
        for name in [case, *(names[case] if DEEPSPEED else [])]:
            assert_close(found[name]["seen"], seen, EXACT)
            assert_close(found[name]["alphas"], alphas, EXACT)
            for key, weight in weights.items():
                assert_close(found[name][f"weights.{key}"], weight.detach(), EXACT)


@pytest.mark.slow
def test_the_engine_of_the_search_steps_as_ddp_does(ranks):
    found = ranks[1]["ddp"]
    assert_close(found["ours"], found["ddp"], EXACT)


@pytest.mark.slow
@pytest.mark.skipif(not DEEPSPEED, reason="DeepSpeed is not installed")
def test_stages_are_as_accurate_as_torch_in_float32(ranks):
    size, found = ranks
    pairs = [(f"stage {stage}", "float32", "float64") for stage in (0, 1, 2)]
    pairs += [("parts, stage 2", "parts", "parts, float64")] if size == 2 else []
    for name, torchs, reference in pairs:
        for key, exact in found[reference].items():
            if exact.is_floating_point():
                what = f"{name}: {key}"
                assert_as_accurate(found[name][key], found[torchs][key], exact, GRADIENT, what, scale=1.0)


@pytest.mark.slow
def test_an_overflow_on_one_rank_leaves_out_alpha_and_weights_with_every_engine(ranks):
    found = ranks[1]
    for name in ("overflow", *(f"overflow, stage {stage}" for stage in (0, 1, 2) if DEEPSPEED)):
        before, skipped, after = found[name]["states"]
        assert torch.equal(before, skipped) and found[name]["skipped"] == 1 and found[name]["scale"] == 2.0**15, name
        assert_close(after, found["overflow"]["states"][2], 1e-5)
        assert not torch.equal(before, after)
