"""Training from the configuration to the files it leaves, interrupted in every way, and measuring the result."""

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import STEPS, run_dir_of

import ddarts
from ddarts.config import EvaluateConfig
from ddarts.genotype.files import read
from ddarts.network.weights import read_network
from ddarts.runtime import state_tree
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.graphs import GraphedForward
from ddarts.runtime.rundir import DONE
from ddarts.runtime.signals import Requeue
from ddarts.runtime.weights import load_weights
from ddarts.train.build import settle
from ddarts.train.step import DivergedError, Stepper


def rows(run_dir, kind):
    """The rows of one kind of a run's log."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def fingerprint(run_dir):
    """SHA-256 of the newest checkpoint's whole state (weights, optimizer, BN, generators, cursor), and of what the
    three files of weights hold."""
    state, step = CheckpointStore(run_dir / "checkpoints").load()
    contents = [load_weights(run_dir / f"{name}.safetensors") for name in ("best", "last", "ema")]
    return [digest(state, step), *(digest(weights, metadata) for weights, metadata in contents)]


def digest(state, extra):
    """SHA-256 of a nested state, to the last bit."""
    tree, tensors = state_tree.pack(state)
    found = hashlib.sha256(json.dumps([tree, extra], sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def at_step(monkeypatch, number, action):
    """Let `action` happen in the step of that number, before anything else."""
    original = Stepper.step

    def step(self, images, labels, current):
        if current == number:
            images = action(images)
        return original(self, images, labels, current)

    monkeypatch.setattr(Stepper, "step", step)


def test_a_training_leaves_what_it_promises(config):
    result = ddarts.train(config)
    run_dir = run_dir_of(config)
    assert result["run_dir"] == str(run_dir) and (run_dir / DONE).exists()
    assert (result["params"], result["macs"]) == tuple(
        ddarts.cost(ddarts.CostConfig(arch=config.arch, dataset="digits", image_size=8, init_channels=4))[key]
        for key in ("params", "macs")
    )
    assert result["images_per_second"] > 0
    train, test = rows(run_dir, "train"), rows(run_dir, "test")
    assert [row["step"] for row in train] == [1, 2, 3, 4, 5, 6] and [row["step"] for row in test] == [3, 6]
    # cosine to 0 over the epochs, drop-path in proportion to the epoch
    assert [row["lr"] for row in train[::STEPS]] == pytest.approx([0.1, 0.05])
    assert [row["drop_path"] for row in train[::STEPS]] == pytest.approx([0.0, 0.2])
    assert {"top1", "top5", "loss", "ema_top1"} <= test[0].keys()
    assert result["best_top1"] == max(row["top1"] for row in test) and result["last_top1"] == test[-1]["top1"]
    assert read(run_dir / "genotype.json") == read(config.arch)
    description = read_network(run_dir / "best.safetensors")[1]
    assert (description.dataset, description.init_channels, description.auxiliary) == ("digits", 4, True)


def test_evaluate_gives_the_accuracy_that_training_saw(config):
    ddarts.train(config)
    run_dir = run_dir_of(config)
    for name, key in (("last", "top1"), ("ema", "ema_top1")):
        found = ddarts.evaluate(
            EvaluateConfig(model_path=str(run_dir / f"{name}.safetensors"), dataset="digits", image_size=8)
        )
        assert found["top1"] == pytest.approx(rows(run_dir, "test")[-1][key])
        assert found["images"] == 360 and found["params"] > 0 and found["macs"] > 0 and found["top5"] >= found["top1"]


@pytest.mark.parametrize("stop_at", [1, STEPS, STEPS + 2])
def test_a_run_stopped_by_max_steps_and_resumed_ends_in_the_same_bits(config, stop_at):
    ddarts.train(config)
    cut = replace(config, save="b")
    stopped = ddarts.train(replace(cut, max_steps=stop_at))
    assert (run_dir_of(cut) / "best.safetensors").is_file() and stopped["best_top1"] > 0
    ddarts.train(replace(cut, resume=stopped["run_dir"]))
    assert fingerprint(run_dir_of(cut)) == fingerprint(run_dir_of(config))
    assert [row["step"] for row in rows(run_dir_of(cut), "train")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("every", [0, 1])
def test_a_run_killed_within_an_epoch_and_resumed_ends_in_the_same_bits(config, every, monkeypatch):
    class Killed(BaseException):
        """Nothing of the program catches it, as nothing catches kill -9."""

    def kill(_images):
        raise Killed

    ddarts.train(config)
    cut = replace(config, save="b", checkpoint_every=every)
    with monkeypatch.context() as patch:
        at_step(patch, STEPS + 2, kill)
        with pytest.raises(Killed):
            ddarts.train(cut)
    run_dir = run_dir_of(cut)
    assert CheckpointStore(run_dir / "checkpoints").steps()[-1] == (STEPS + 1 if every else STEPS)
    torch.rand(5)  # whatever else happened in between
    ddarts.train(replace(cut, resume=str(run_dir), checkpoint_every=0))
    assert fingerprint(run_dir) == fingerprint(run_dir_of(config))


def test_sigterm_saves_within_the_epoch_and_asks_for_a_requeue(config, monkeypatch):
    def terminate(images):
        os.kill(os.getpid(), signal.SIGTERM)
        return images

    ddarts.train(config)
    cut = replace(config, save="b")
    with monkeypatch.context() as patch:
        at_step(patch, 2, terminate)
        with pytest.raises(Requeue, match=r"SIGTERM after step 2, checkpoint saved; .*ddarts train --resume") as caught:
            ddarts.train(cut)
    run_dir = run_dir_of(cut)
    assert caught.value.exit_code == 75 and not (run_dir / DONE).exists()
    state, step = CheckpointStore(run_dir / "checkpoints").load()
    assert step == 2 and state["step"] == 2 and state["training"]["epoch"] == 0
    ddarts.train(replace(cut, resume=str(run_dir)))
    assert fingerprint(run_dir) == fingerprint(run_dir_of(config)) and (run_dir / DONE).exists()


def test_a_loss_that_is_not_finite_names_step_and_last_good_checkpoint(config, monkeypatch):
    at_step(monkeypatch, STEPS + 2, lambda images: images * float("nan"))
    with pytest.raises(DivergedError, match=rf"step {STEPS + 2}: .*last good checkpoint: step {STEPS} of ") as caught:
        ddarts.train(config)
    assert "\n" not in str(caught.value)
    run_dir = run_dir_of(config)
    state, step = CheckpointStore(run_dir / "checkpoints").load()
    assert step == STEPS and all(value.isfinite().all() for value in state["model"].values())
    assert not (run_dir / DONE).exists()


def test_a_run_is_never_written_over(config):
    ddarts.train(replace(config, max_steps=1))
    with pytest.raises(UsageError, match="already holds a run"):
        ddarts.train(config)


@pytest.mark.parametrize("change", [{"init_channels": 6}, {"ema": None}, {"batch_size": 77}, {"learning_rate": 3.0}])
def test_resuming_another_run_is_refused_and_changes_nothing(config, change):
    first = ddarts.train(replace(config, max_steps=1))
    before = {p: p.read_bytes() for p in Path(first["run_dir"]).rglob("*") if p.is_file()}
    (name,) = change
    with pytest.raises(DdartsError, match=f"--{name} .*: the run in .* has"):
        ddarts.train(replace(config, resume=first["run_dir"], **change))
    assert before == {p: p.read_bytes() for p in Path(first["run_dir"]).rglob("*") if p.is_file()}


def test_weights_of_another_network_are_refused(config, monkeypatch):
    """Where the options agree but the genotype's file was exchanged in between."""
    first = ddarts.train(replace(config, max_steps=1))
    monkeypatch.setattr("ddarts.train.build.channels", lambda *_: 6)
    with pytest.raises(DdartsError, match="of another network than the options describe"):
        ddarts.train(replace(config, resume=first["run_dir"]))


def test_cuda_graphs_capture_training_passes_with_the_same_result(config, monkeypatch):
    """With graphs that need no GPU: the network itself, on a buffer. Drop-path is captured when it sets in."""
    seen = []

    def capture(network, sample):
        forward, (buffer,) = network.forward, sample
        seen.append(network.drops_paths)
        return lambda images: forward(buffer.copy_(images))

    config = replace(config, device="auto")
    ddarts.train(config)
    monkeypatch.setattr("ddarts.train.build.GraphedForward", lambda *given: GraphedForward(*given, capture))
    monkeypatch.setattr(
        "ddarts.train.build.settle", lambda given, group: settle(replace(given, cuda_graphs=False), group)
    )
    graphed = replace(config, save="b", cuda_graphs=True)
    ddarts.train(graphed)
    assert fingerprint(run_dir_of(graphed)) == fingerprint(run_dir_of(config)) and seen == [False, True]


def test_cuda_graphs_without_a_gpu_or_beside_compile_are_refused(config):
    for change, says in (
        ({"device": "cpu"}, "--cuda_graphs: not for --device cpu"),
        ({"compile": True, "device": "auto"}, "--cuda_graphs: contradicts --compile"),
        ({"device": "auto"}, "--cuda_graphs: needs a GPU"),
    ):
        if torch.cuda.is_available() and change == {"device": "auto"}:
            continue
        with pytest.raises(UsageError, match=says):
            ddarts.train(replace(config, cuda_graphs=True, **change))


def test_a_profiled_run_ends_in_the_same_bits_and_leaves_a_trace(config):
    ddarts.train(config)
    profiled = replace(config, save="b", profile=True)
    ddarts.train(profiled)
    assert fingerprint(run_dir_of(profiled)) == fingerprint(run_dir_of(config))
    log = (run_dir_of(profiled) / "log.txt").read_text()
    assert (run_dir_of(profiled) / "profile" / "trace.json.gz").stat().st_size > 1000
    assert "INFO operation " in log and "aten::convolution_backward " in log


def test_a_last_batch_of_one_image_is_left_out(config):
    one_left = replace(config, batch_size=718, epochs=1, ema=None)  # 2 x 718 + 1
    ddarts.train(one_left)
    assert [row["step"] for row in rows(run_dir_of(one_left), "train")] == [1, 2]
    with pytest.raises(UsageError, match="--batch_size 1"):
        ddarts.train(replace(config, batch_size=1, save="b"))


def test_a_small_network_learns_the_digits(config):
    """8x8 digits, 12 epochs, a network of 4,000 parameters."""
    learn = replace(
        config, epochs=12, batch_size=64, drop_path_prob=0.0, cutout=False, auxiliary=False, ema=None, init_channels=8
    )
    result = ddarts.train(learn)
    assert result["best_top1"] >= 90
    losses = [row["loss"] for row in rows(run_dir_of(learn), "train")]
    assert losses[-1] < 0.6 * losses[0]
