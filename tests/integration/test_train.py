"""Training from the configuration to the files it leaves, interrupted in every way, and measuring the result."""

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ddarts
from ddarts.config import EvaluateConfig, TrainConfig
from ddarts.config.options import specs
from ddarts.genotype.files import read, write
from ddarts.genotype.schema import Gene, Genotype
from ddarts.network.weights import read_network
from ddarts.runtime import state_tree
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.graphs import GraphedForward
from ddarts.runtime.rundir import DONE
from ddarts.runtime.signals import Requeue
from ddarts.runtime.weights import load_weights
from ddarts.train.build import build, settle
from ddarts.train.step import DivergedError, Stepper

CELL = (Gene("sep_conv_3x3", 2, 0), Gene("skip_connect", 2, 1), Gene("max_pool_3x3", 3, 2), Gene("skip_connect", 3, 0))
OTHER = (Gene("dil_conv_3x3", 2, 0), Gene("skip_connect", 2, 1))
STEPS = 3  # steps of an epoch: 1,437 digits in batches of 500


@pytest.fixture
def arch(tmp_path):
    """The file of a network of three cells."""
    made = Genotype("tiny", "ddarts", 2, (2, 3), (1,), (CELL, CELL, OTHER))
    return str(write(made, tmp_path / "tiny.json"))


@pytest.fixture
def config(arch, tmp_path):
    """Two epochs of three steps on 8x8 digits, with everything on that has a state."""
    return TrainConfig(
        arch=arch,
        dataset="digits",
        image_size=8,
        init_channels=4,
        batch_size=500,
        epochs=2,
        learning_rate=0.1,
        drop_path_prob=0.4,
        auxiliary=True,
        cutout=True,
        cutout_length=2,
        ema=0.9,
        label_smooth=0.1,
        report_freq=1,
        device="cpu",
        out=str(tmp_path / "logs"),
        save="a",
    )


def rows(run_dir, kind):
    """The rows of one kind of a run's log."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def run_dir_of(config):
    """Where the run of `config` lies."""
    return Path(config.out) / "eval" / config.save


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


# What each option is changed to, and what must come of it: other weights than the plain run's.
CHANGES = {
    "seed": 1,
    "auxiliary": False,
    "auxiliary_weight": 0.0,
    "label_smooth": 0.0,
    "cutout": False,
    "cutout_length": 4,
    "auto_aug": True,
    "drop_path_prob": 0.0,
    "grad_clip": 0.1,
    "weight_decay": 0.1,
    "momentum": 0.0,
    "learning_rate": 0.05,
    "epochs": 3,
    "batch_size": 400,
    "max_steps": STEPS,
    "image_size": 9,
    "init_channels": 6,
    "amp": True,
    "precision": "bf16",
}
# Options that change the network itself: another architecture that they apply to, and what they are changed to.
STRUCTURE = {
    "arch": ({}, {"arch": "DD-cifar10"}),
    "layers": ({"arch": "DD-cifar10"}, {"layers": 14}),
    "derivation": ({"arch": "DD-cifar10", "layers": 14}, {"derivation": "code"}),
    "baseline_wiring": ({"arch": "baseline_Xception"}, {"baseline_wiring": "published"}),
}
# Options that leave the weights of a run on digits as they are, and why.
EXEMPT = {
    "dataset": "other images; each set has its own tests",
    "data": "digits lie in no folder",
    "download": "digits are never fetched",
    "val_resize": "of photographs in files: tests/integration/test_photographs.py",
    "class_list": "of class folders: tests/data/test_data_check.py",
    "skip_bad_files": "of class folders: tests/data/test_data_check.py",
    "imagenet_stem": "networks for digits have the CIFAR stem, and the log says so",
    "parse_method": "published, without effect, and the log says so",
    "device": "where, not what",
    "backend": "every implementation computes the same",
    "loader": "both prepare the same batches: see the test below",
    "workers": "however many processes, the same batches",
    "channels_last": "the same numbers in another order in memory: see the test below",
    "compile": "the same numbers, faster",
    "cuda_graphs": "the same numbers, faster: tests/unit/runtime/test_graphs.py and the test below",
    "ema": "a network beside this one, with a file of its own",
    "out": "where the run lies",
    "save": "where the run lies",
    "resume": "the same bits: see the tests above",
    "checkpoint_every": "the same bits: see the tests above",
    "report_freq": "lines of the log",
    "profile": "the same bits, and a trace: see the test below",
    "engine": "who steps, not what: tests/distributed",
    "ds_config": "settings of DeepSpeed: tests/distributed and tests/unit/config",
    "rank_timeout": "of several ranks: tests/distributed",
    "check_ranks_every": "of several ranks: tests/distributed",
    "accumulate": "the same gradients in parts: tests/unit/train",
}


def test_every_option_is_changed_by_a_test_or_exempt_for_a_reason():
    groups = (CHANGES, STRUCTURE, EXEMPT)
    assert sorted(name for group in groups for name in group) == sorted(specs(TrainConfig))


def test_options_change_what_is_computed(config):
    """Each of these ends in other weights than the plain run: none is silently ignored."""
    plain = replace(config, max_steps=STEPS + 1, ema=None)
    found = {}
    for number, (name, change) in enumerate({"plain": {}, **{k: {k: v} for k, v in CHANGES.items()}}.items()):
        assert all(getattr(plain, option) != value for option, value in change.items())
        changed = replace(plain, save=f"run{number}", **change)
        ddarts.train(changed)
        found[name] = read_network(run_dir_of(changed) / "last.safetensors")[0]["classifier.weight"]
    for name, weights in found.items():
        assert weights.isfinite().all()
        assert name == "plain" or not torch.equal(weights, found["plain"]), name


@pytest.mark.parametrize("name", STRUCTURE)
def test_options_change_the_network(config, name):
    applies_to, change = STRUCTURE[name]
    base = replace(config, init_channels=2, auxiliary=False, ema=None, **applies_to)

    def network(options):
        model = build(options)[1].model
        return model.genotype.reductions, [cell.plan for cell in model.cells]

    assert network(base) == network(base) != network(replace(base, **change))


def test_channels_last_and_the_other_loader_compute_the_same(config):
    plain = replace(config, max_steps=2, ema=None, auxiliary=False, drop_path_prob=0.0)
    found = []
    for number, change in enumerate([{}, {"channels_last": False}, {"loader": "torchvision"}]):
        changed = replace(plain, save=f"run{number}", **change)
        ddarts.train(changed)
        found.append(read_network(run_dir_of(changed) / "last.safetensors")[0]["classifier.weight"])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[2], found[0], rtol=1e-3, atol=1e-5)


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


# --- measuring weights that do not belong -----------------------------------------------------------------------


@pytest.fixture
def trained(config):
    """best.safetensors of a short run."""
    ddarts.train(replace(config, max_steps=1, ema=None))
    return str(run_dir_of(config) / "best.safetensors")


def test_weights_of_another_architecture_are_refused_naming_both(trained, arch):
    measure = EvaluateConfig(model_path=trained, dataset="digits", image_size=8)
    assert ddarts.evaluate(replace(measure, arch=arch, init_channels=4))["images"] == 360
    cases = [
        ({"arch": "DD-cifar10"}, "--arch DD-cifar10: .*belong to another architecture, 'tiny' with 3 cells"),
        ({"layers": 5}, "--layers 5: .*have 3 cells"),
        ({"init_channels": 6}, "--init_channels 6: .* have 4"),
        ({"baseline_wiring": "published"}, "--baseline_wiring published: .* have increasing"),
    ]
    for change, message in cases:
        with pytest.raises(DdartsError, match=message) as caught:
            ddarts.evaluate(replace(measure, **change))
        assert "\n" not in str(caught.value)


def test_weights_for_other_classes_are_refused(trained, tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "pets" / split / name / "a.png")
    measure = EvaluateConfig(model_path=trained, dataset="folder", data=str(tmp_path / "pets"), image_size=8)
    with pytest.raises(DdartsError, match=r"tell 10 classes apart \(digits\), but folder has 2"):
        ddarts.evaluate(measure)


def test_published_weights_are_measured(arch, tmp_path):
    from ddarts.network.registry import create_model

    model = create_model(arch, init_channels=4, wiring="published").eval()
    state = {}
    for name, value in model.state_dict().items():  # three kinds of names differ in this network
        name = name.replace("stem.conv.", "stem.0.").replace("stem.bn.", "stem.1.")
        for gene in {*CELL, *OTHER}:
            theirs = f"_ops.{gene.to}.{gene.source}.0."
            name = name.replace(f"edges.{gene.source}_to_{gene.to}_{gene.op}.", theirs)
        state[name] = value
    path = tmp_path / "model_best.pth.tar"
    torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    measure = EvaluateConfig(model_path=str(path), dataset="digits", image_size=8, init_channels=4)
    with pytest.raises(UsageError, match="name it with --arch"):
        ddarts.evaluate(measure)
    found = ddarts.evaluate(replace(measure, arch=arch))
    assert found["images"] == 360 and found["params"] == sum(p.numel() for p in model.parameters())
