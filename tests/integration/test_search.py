"""The search as a user runs it, on 8x8 digits so that it takes seconds."""

import copy
import gzip
import json
import os
import signal

import numpy as np
import pytest
import torch

import ddarts
from ddarts.config import SearchConfig
from ddarts.genotype.files import read
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DivergedError, UsageError
from ddarts.runtime.loss_scale import LossScale
from ddarts.runtime.ranks.engines import TorchEngine
from ddarts.runtime.signals import Requeue
from ddarts.search import phases as phases_module
from ddarts.search.build import build_searcher
from ddarts.search.iteration import Iteration
from tests.bits import assert_same_bits

TINY = {
    "dataset": "digits",
    "image_size": 8,
    "init_channels": 2,
    "layers": 3,
    "batch_size": 128,
    "steps": 2,
    "multiplier": 2,
    "epochs": 2,
    "arch_learning_rate": 1.0,
    "report_freq": 2,
}


def run(out, name="run", **options):
    return ddarts.search(SearchConfig(out=str(out), save=name, **{**TINY, **options}))


def rows(out, name="run", kind=None):
    lines = (out / "search" / name / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if kind in (None, row["kind"])]


def final_state(out, name="run"):
    return CheckpointStore(out / "search" / name / "checkpoints").load()[0]


def test_a_search_leaves_what_it_promises(tmp_path):
    result = run(tmp_path)
    folder = tmp_path / "search" / "run"
    assert result["run_dir"] == str(folder) and result["epochs"] == 2 and result["seconds_per_iteration"] > 0
    genotype = read(folder / "genotype.json")
    assert result["genotype"] == str(folder / "genotype.json")
    assert genotype.layers == 3 and genotype.reductions == (1, 2) and all(genotype.cells)
    arrays = np.load(folder / "alphas.npz")
    assert arrays["alphas"].shape == (3, 5, 7)
    np.testing.assert_allclose(arrays["alphas"], 1 / (1 + np.exp(-arrays["logits"])), rtol=1e-5)
    assert json.loads((folder / "DONE").read_text())["genotype"] == result["genotype"]
    epochs = rows(tmp_path, kind="epoch")
    assert [row["epoch"] for row in epochs] == [0, 1]
    for row in epochs:
        assert len(row["marginal"]) == len(row["zero_one"]) == 3
        assert row["discretisation_gap"] == pytest.approx(row["valid_acc"] - row["discretised_acc"])
    assert epochs[-1]["above_threshold"] == int((arrays["alphas"] >= 0.85).sum()) > 0
    # α moved away from their start in every cell, and no two cells moved alike.
    assert all(np.abs(cell).max() > 1 for cell in arrays["logits"])
    assert not np.allclose(arrays["logits"][0], arrays["logits"][1])


@pytest.mark.parametrize("options", [{}, {"recipe": "official"}, {"single_level": True}, {"ablation_every": 4}])
def test_stopping_and_resuming_ends_in_the_same_bits(tmp_path, options):
    run(tmp_path, "whole", **options)
    run(tmp_path, "parts", **options, max_steps=4)  # in the middle of the first epoch (6 steps)
    run(tmp_path, "parts", **options, resume=str(tmp_path / "search" / "parts"), max_steps=9)
    run(tmp_path, "parts", **options, resume=str(tmp_path / "search" / "parts"))
    assert_same_bits(final_state(tmp_path, "whole"), final_state(tmp_path, "parts"))
    assert rows(tmp_path, "whole", "epoch") == rows(tmp_path, "parts", "epoch")
    one, other = ((tmp_path / "search" / name / "alphas.npz").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_a_signal_saves_and_asks_for_a_requeue(tmp_path, monkeypatch):
    run(tmp_path, "whole")
    step = Iteration.weight_step

    def interrupted(self, batch, number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, number)

    monkeypatch.setattr(Iteration, "weight_step", interrupted)
    with pytest.raises(Requeue, match="SIGTERM after step 4.*--resume"):
        run(tmp_path, "parts")
    monkeypatch.undo()
    run(tmp_path, "parts", resume=str(tmp_path / "search" / "parts"))
    assert_same_bits(final_state(tmp_path, "whole"), final_state(tmp_path, "parts"))


def test_no_valid_genotype_is_said_and_nothing_fails(tmp_path, caplog):
    caplog.set_level("INFO", "ddarts")
    result = run(tmp_path, max_steps=1, arch_learning_rate=1e-3)
    assert result["genotype"] is None
    assert not (tmp_path / "search" / "run" / "genotype.json").exists()
    assert (tmp_path / "search" / "run" / "alphas.npz").exists()
    assert "no genotype yet: cell 0: is empty" in caplog.text
    assert "use --arch_learning_rate" in caplog.text


def test_a_run_is_never_written_over(tmp_path):
    run(tmp_path, max_steps=1)
    before = {p: p.read_bytes() for p in (tmp_path / "search" / "run").rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="already holds a run"):
        run(tmp_path, max_steps=2)
    assert before == {p: p.read_bytes() for p in (tmp_path / "search" / "run").rglob("*") if p.is_file()}


@pytest.mark.parametrize("which", ["training", "validation"])
def test_a_diverged_loss_stops_before_the_update(tmp_path, monkeypatch, which):
    iterate = phases_module.Bilevel.run
    poisoned = []

    def poison(self, batches, number):
        if number < 2:
            return iterate(self, batches, number)
        parameters = [*self.iteration.parameters, self.iteration.alphas.logits]
        before = [p.detach().clone() for p in parameters]
        moments = copy.deepcopy(self.iteration.weights.state_dict())
        bad = 0 if which == "training" else 1
        images, labels = batches[bad]
        batches[bad] = images * float("nan"), labels
        try:
            iterate(self, batches, number)
        finally:
            kept = len(parameters) - (1 if which == "training" else 0)  # α had their step before the weights'
            assert all(torch.equal(a, b) for a, b in zip(before[:kept], parameters[:kept], strict=True))
            assert_same_bits(moments, self.iteration.weights.state_dict())
            poisoned.append(number)

    monkeypatch.setattr(phases_module.Bilevel, "run", poison)
    with pytest.raises(DivergedError, match="step 2 or its gradient.* is not finite .*last good checkpoint: step 0 of"):
        run(tmp_path)
    assert poisoned == [2]


def test_a_gradient_that_is_not_finite_is_never_applied(tmp_path, monkeypatch):
    backward = TorchEngine.backward

    def infinite(self, *arguments, **options):
        found = backward(self, *arguments, **options)
        self._gradients = [self._gradients[0] + float("inf"), *self._gradients[1:]]
        return found

    monkeypatch.setattr(TorchEngine, "backward", infinite)
    with pytest.raises(DivergedError, match="training loss of step 0 or its gradient is not finite"):
        run(tmp_path)


def test_another_network_cannot_be_resumed(tmp_path):
    run(tmp_path, max_steps=1)
    before = {p: p.read_bytes() for p in (tmp_path / "search" / "run").rglob("*") if p.is_file()}
    for option, value in (("init_channels", 4), ("recipe", "official"), ("batch_size", 64), ("seed", 5)):
        with pytest.raises(ddarts.DdartsError, match=f"--{option} {value}: the run in .* has"):
            run(tmp_path, resume=str(tmp_path / "search" / "run"), **{option: value})
    assert before == {p: p.read_bytes() for p in (tmp_path / "search" / "run").rglob("*") if p.is_file()}


def test_a_finished_run_is_finished_again_without_new_rows(tmp_path):
    first = run(tmp_path)
    before = rows(tmp_path)
    again = run(tmp_path, resume=str(tmp_path / "search" / "run"))
    assert rows(tmp_path) == before
    assert {**again, "seconds_per_iteration": 0} == {**first, "seconds_per_iteration": 0}


@pytest.mark.parametrize("last", [6, 12])
def test_a_stop_at_the_last_step_of_an_epoch_is_made_up_for(tmp_path, monkeypatch, last):
    run(tmp_path, "whole")
    step = Iteration.weight_step

    def interrupted(self, batch, number):
        if number == last - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, number)

    monkeypatch.setattr(Iteration, "weight_step", interrupted)
    with pytest.raises(Requeue, match=f"after step {last}"):
        run(tmp_path, "parts")
    monkeypatch.undo()
    run(tmp_path, "parts", resume=str(tmp_path / "search" / "parts"))
    assert_same_bits(final_state(tmp_path, "whole"), final_state(tmp_path, "parts"))
    assert rows(tmp_path, "whole") == rows(tmp_path, "parts")


def test_fp16_overflows_leave_out_alpha_and_weights_together():
    """A loss scale stands in for a GPU: an overflow in the weight step takes the α step back."""
    config = SearchConfig(**{**TINY, "recipe": "official"})
    searcher = build_searcher(config, 10, torch.device("cpu"))
    iteration, scale = searcher.iteration, LossScale(enabled=True)
    iteration.weights.scale = scale
    batch = torch.randn(8, 3, 8, 8), torch.arange(8)
    iteration.architecture_step(batch, 0)
    iteration.weight_step(batch, 0)
    assert scale.skipped == 0 and searcher.alphas.logits.any()
    before = copy.deepcopy((iteration.alphas.state_dict(), iteration.alpha_optimizer.state_dict()))
    left = iteration.recipe.left.clone()
    weights = [p.detach().clone() for p in iteration.parameters]
    bad = batch[0] * float("inf"), batch[1]
    for first, second in ((bad, batch), (batch, bad)):
        value = scale.value
        iteration.architecture_step(first, 1)
        iteration.weight_step(second, 1)
        assert_same_bits(before, (iteration.alphas.state_dict(), iteration.alpha_optimizer.state_dict()))
        assert all(torch.equal(a, b) for a, b in zip(weights, iteration.parameters, strict=True))
        assert scale.value == value / 2
    assert scale.skipped == 2 and torch.equal(left, iteration.recipe.left)
    with pytest.raises(DivergedError, match="overflow at every loss scale"):
        for _ in range(40):
            iteration.architecture_step(bad, 2)
            iteration.weight_step(bad, 2)


def test_bf16_on_the_cpu_follows_fp32(tmp_path):
    """Also guards against wrong bf16 gradients of convolutions on channels-last inputs."""
    full = {"image_size": 32, "max_steps": 2, "init_channels": 2, "batch_size": 16, "arch_learning_rate": 0.01}
    run(tmp_path, "fp32", **full)
    run(tmp_path, "bf16", **full, amp=True)
    one, other = (final_state(tmp_path, name)["network"] for name in ("fp32", "bf16"))
    for name, value in one.items():
        if name.endswith("weight"):
            assert (value - other[name]).abs().max() < 0.02 * value.abs().max() + 1e-3, name


def test_a_profiled_search_leaves_a_trace_of_its_steps(tmp_path):
    run(tmp_path, profile=True, epochs=1)
    packed = (tmp_path / "search" / "run" / "profile" / "trace.json.gz").read_bytes()
    names = [event.get("name") for event in json.loads(gzip.decompress(packed))["traceEvents"]]
    assert names.count("architecture step") == names.count("weight step") > 0
