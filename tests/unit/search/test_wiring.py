"""Every option of the search arrives where it acts: in the optimizers, the recipe, the iteration, the network, the
data, the schedule and the results."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ddarts
from ddarts.config import SearchConfig
from ddarts.data import datasets
from ddarts.data.augment import Augmentation
from ddarts.data.datasets import load
from ddarts.data.halves import halves
from ddarts.genotype.files import read
from ddarts.genotype.parse import keep_mask, parse
from ddarts.ops import use_backend
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.ranks import launch
from ddarts.runtime.weights import save_weights
from ddarts.search import build as build_module
from ddarts.search.build import build_data, build_searcher
from ddarts.search.iteration import Iteration
from ddarts.search.losses import zero_one_loss
from ddarts.search.recipes import OfficialRecipe
from ddarts.space.primitives import DDARTS
from ddarts.supernet.network import to_published

CPU = torch.device("cpu")
IMAGES = 1437
TINY = {
    "dataset": "digits",
    "image_size": 8,
    "init_channels": 2,
    "layers": 3,
    "steps": 2,
    "multiplier": 2,
    "batch_size": 240,
    "device": "cpu",
}


def config(**options):
    return SearchConfig(**{**TINY, **options})


def searcher(**options):
    return build_searcher(config(**options), 10, CPU)


def data(**options):
    return build_data(config(**options), CPU, torch.contiguous_format)


def batch(count=8):
    return torch.randn(count, 3, 8, 8), torch.arange(count) % 10


# Where a value can be read after building: option -> (a value that is not the default, how to read it).
ARRIVES = {
    "learning_rate": (0.07, lambda s: s.iteration.weights.optimizer.param_groups[0]["lr"]),
    "momentum": (0.3, lambda s: s.iteration.weights.optimizer.param_groups[0]["momentum"]),
    "weight_decay": (0.02, lambda s: s.iteration.weights.optimizer.param_groups[0]["weight_decay"]),
    "arch_learning_rate": (0.09, lambda s: s.iteration.alpha_optimizer.param_groups[0]["lr"]),
    "arch_weight_decay": (0.05, lambda s: s.iteration.alpha_optimizer.param_groups[0]["weight_decay"]),
    "grad_clip": (0.7, lambda s: s.iteration.weights.grad_clip),
    "seed": (7, lambda s: s.iteration.seed),
    "sep_loss": ("l1", lambda s: s.iteration.zero_one),
    "cell_loss": ("none", lambda s: "ablation_loss" if s.iteration.ablation else "none"),
    "recipe": ("official", lambda s: "official" if isinstance(s.iteration.recipe, OfficialRecipe) else "paper"),
    "aux_loss_weight": (3.0, lambda s: s.iteration.recipe.weights.zero_one),
    "abl_loss_weight": (0.2, lambda s: s.iteration.recipe.weights.ablation),
    "layers": (4, lambda s: len(s.network.cells)),
    "init_channels": (4, lambda s: s.network.stem[0].out_channels // 3),
    "steps": (3, lambda s: s.network.cells[0].steps),
    "supernet": ("fused", lambda s: s.network.execution),
    "activation_storage": ("half", lambda s: s.network.activation_storage),
    "multiplier": (1, lambda s: s.network.cells[0].multiplier),
    "ablation_every": (3, lambda s: s.iteration.ablation_every),
    "accumulate": (3, lambda s: s.iteration.parts),
}
# Options whose effect a test below looks at.
ACTS = {
    "grad_clip": "test_the_gradient_is_clipped",
    "sep_loss": "test_the_form_of_the_zero_one_loss_decides_its_value_and_gradient",
    "seed": "test_the_seed_decides_weights_and_halves",
    "init_from": "test_weights_from_a_file_arrive",
    "train_portion": "test_the_halves_have_the_asked_sizes",
    "batch_size": "test_the_halves_have_the_asked_sizes",
    "cutout": "test_what_the_loaders_are_told",
    "cutout_length": "test_what_the_loaders_are_told",
    "auto_aug": "test_what_the_loaders_are_told",
    "loader": "test_what_the_loaders_are_told",
    "workers": "test_what_the_loaders_are_told",
    "dataset": "test_what_the_loaders_are_told",
    "data": "test_what_the_loaders_are_told",
    "download": "test_what_the_loaders_are_told",
    "image_size": "test_what_the_loaders_are_told",
    "val_resize": "test_what_the_loaders_are_told",
    "class_list": "test_what_the_loaders_are_told",
    "skip_bad_files": "test_what_the_loaders_are_told",
    "imagenet_stem": "test_photographs_get_the_stem_that_is_asked_for",
    "epochs": "test_the_rates_follow_their_cosines",
    "learning_rate": "test_the_rates_follow_their_cosines",
    "learning_rate_min": "test_the_rates_follow_their_cosines",
    "arch_learning_rate": "test_the_rates_follow_their_cosines",
    "arch_learning_rate_min": "test_the_rates_follow_their_cosines",
    "report_freq": "test_the_rates_follow_their_cosines",
    "parse_method": "test_the_genotype_is_parsed_as_asked",
    "op_threshold": "test_the_genotype_is_parsed_as_asked",
    "single_level": "test_a_single_level_search_takes_joint_steps",
    "device": "test_device_and_precision_are_those_asked_for",
    "precision": "test_device_and_precision_are_those_asked_for",
    "amp": "test_device_and_precision_are_those_asked_for",
}
RUNS = "about the run's folder and length: tests/integration"
RANKS = "about several ranks: tests/distributed"
BASELINE = "about searches from a baseline: tests/unit/search/test_search_layout.py and tests/integration"
NO_EFFECT = "published, without effect: tests/unit/config"
EXEMPT = {
    "out": RUNS,
    "save": RUNS,
    "resume": RUNS,
    "max_steps": RUNS,
    "checkpoint_every": RUNS,
    "profile": RUNS,
    "cuda_graphs": "of a GPU: tests/unit/search/test_replay.py",
    "backend": "chosen for the whole process: tests/ops/test_backend_choice.py",
    "engine": RANKS,
    "ds_config": RANKS,
    "rank_timeout": RANKS,
    "check_ranks_every": RANKS,
    "seeds": "several runs: tests/integration/test_search_seeds.py",
    "arch_baseline": BASELINE,
    "baselines": BASELINE,
    "baseline_wiring": BASELINE,
    "pretrain_epochs": BASELINE,
    "no_arch_metric": BASELINE,
    "model_path": NO_EFFECT,
    "arch_lr_gamma": NO_EFFECT,
    "gpus": NO_EFFECT,
}


def test_every_option_is_accounted_for():
    fields = {field.name for field in dataclasses.fields(SearchConfig)}
    covered = ARRIVES.keys() | ACTS.keys()
    assert fields == covered | EXEMPT.keys()
    assert not covered & EXEMPT.keys()
    assert set(ACTS.values()) <= globals().keys()


@pytest.mark.parametrize("option", ARRIVES)
def test_the_value_arrives(option):
    value, reading = ARRIVES[option]
    with use_backend("reference"):  # with compiled operators, auto would take the fused network
        assert reading(searcher()) != value
    assert reading(searcher(**{option: value})) == value


def test_the_optimizers_step_all_there_is():
    built = searcher()
    weights, alphas = built.iteration.weights.optimizer, built.iteration.alpha_optimizer
    assert isinstance(weights, torch.optim.SGD) and isinstance(alphas, torch.optim.Adam)
    assert list(map(id, weights.param_groups[0]["params"])) == list(map(id, built.network.parameters()))
    assert alphas.param_groups[0]["params"][0] is built.alphas.logits
    assert alphas.param_groups[0]["betas"] == (0.9, 0.999)
    assert len(weights.param_groups) == len(alphas.param_groups) == 1


def test_the_gradient_is_clipped():
    for clip, expected in ((0.01, lambda norm: 0.01), (1e6, lambda norm: norm)):
        built = searcher(grad_clip=clip, momentum=0.0, weight_decay=0.0, learning_rate=0.1)
        before = [p.detach().double() for p in built.network.parameters()]
        norm = built.iteration.weight_step(batch(), 0).gradient_norm.item()
        moved = [p.detach().double() - old for p, old in zip(built.network.parameters(), before, strict=True)]
        assert norm > 0.1
        assert torch.nn.utils.get_total_norm(moved).item() == pytest.approx(0.1 * expected(norm), rel=1e-3)


@pytest.mark.parametrize("form", ["l2", "l1"])
def test_the_form_of_the_zero_one_loss_decides_its_value_and_gradient(form, monkeypatch):
    built = searcher(sep_loss=form)
    with torch.no_grad():
        built.alphas.logits.normal_()
    logits = built.alphas.logits.detach().clone().requires_grad_()
    distance = torch.sigmoid(logits) - 0.5
    losses = -(distance.square() if form == "l2" else distance.abs()).mean(dim=(1, 2))
    (wanted,) = torch.autograd.grad(losses.sum(), logits)
    seen = []
    rule = built.iteration.recipe.alpha_gradient

    def spy(ce, zero_one, found):
        seen.append(zero_one)
        return rule(ce, zero_one, found)

    monkeypatch.setattr(built.iteration.recipe, "alpha_gradient", spy)
    report = built.iteration.architecture_step(batch(), 0)
    torch.testing.assert_close(report.zero_one, losses.detach())
    torch.testing.assert_close(seen[0], wanted)
    torch.testing.assert_close(zero_one_loss(torch.sigmoid(logits), form), losses)


def test_the_seed_decides_weights_and_halves():
    one, same, other = (searcher(seed=seed).network.stem[0].weight for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)
    orders = [next(iter(data(seed=seed).check.epoch(0)))[1] for seed in (3, 4)]
    assert not torch.equal(*orders)


def test_weights_from_a_file_arrive(tmp_path):
    source = searcher(seed=11)
    source.iteration.weight_step(batch(), 0)  # running statistics too
    published = to_published(source.network.state_dict())
    assert {"stem.0.weight", "cells.1._ops.0._ops.0.1.running_var", "classifier.bias"} <= published.keys()
    save_weights(tmp_path / "weights.safetensors", published)
    built = searcher(seed=12, init_from=str(tmp_path / "weights.safetensors")).network.state_dict()
    assert not torch.equal(searcher(seed=12).network.state_dict()["stem.0.weight"], published["stem.0.weight"])
    for name, value in published.items():
        assert torch.equal(built[name], value), name


def sizes(loader):
    return [len(labels) for _, labels in loader.epoch(0)]


def test_the_halves_have_the_asked_sizes():
    parts = data(train_portion=0.75, batch_size=200)
    train, valid = sizes(parts.train), sizes(parts.valid)
    assert sum(train) == pytest.approx(0.75 * IMAGES, abs=10) and sum(train) + sum(valid) == IMAGES
    assert train[0] == valid[0] == 200 and sizes(parts.check) == valid
    assert parts.num_classes == 10


def whole(loader, epoch=0):
    images, labels = zip(*loader.epoch(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


def halves_by_hand(options):
    """Both halves as they are: normalised images and labels, in their own order."""
    images = load("digits", image_size=8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (images.spec.mean, images.spec.std))
    normalised = (images.images.float() / 255 - mean) / std
    parts = halves(images.labels, options.train_portion, options.seed)
    return [(normalised[part], images.labels[part]) for part in parts]


def test_the_check_images_are_those_of_the_validation_half_untouched():
    options = config(cutout=True, cutout_length=4)
    parts = build_data(options, CPU, torch.contiguous_format)
    _, (images, labels) = halves_by_hand(options)
    for epoch in (0, 1):
        found, classes = whole(parts.check, epoch)
        assert torch.equal(classes, labels)
        torch.testing.assert_close(found, images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("half", ["train", "valid"])
def test_both_halves_are_shuffled_and_augmented(half):
    options = config()
    loader = getattr(build_data(options, CPU, torch.contiguous_format), half)
    images, labels = halves_by_hand(options)[half == "valid"]
    first, second = whole(loader, 0), whole(loader, 1)
    assert not torch.equal(first[1], labels) and not torch.equal(first[1], second[1])
    assert torch.equal(first[1].sort().values, labels.sort().values)
    own = {image.numpy().tobytes() for image in (images * 1000).round()}
    moved = sum(image.numpy().tobytes() not in own for image in (first[0] * 1000).round())
    assert moved > len(labels) / 2  # a random crop of a padded image is rarely the image itself


def test_what_the_loaders_are_told(monkeypatch):
    loads, loaders = [], []

    def reads(*arguments, **more):
        loads.append((*arguments, *more.values()))
        return digits

    digits = load("digits", image_size=8)
    monkeypatch.setattr(datasets, "load", reads)
    monkeypatch.setattr(build_module, "make_loader", lambda images, **details: loaders.append(details))
    where = {"data": "here", "download": True, "val_resize": 9, "class_list": "list", "skip_bad_files": "bad"}
    options = config(cutout=True, cutout_length=5, auto_aug=True, loader="torchvision", workers=3, **where)
    build_data(options, CPU, torch.channels_last)
    build_data(config(cutout_length=5), CPU, torch.contiguous_format)
    assert loads[0] == ("digits", "here", "train", True, 8, 9, "list", "bad")
    policy, flip = digits.spec.auto_augment, digits.spec.flip
    trained, plain = Augmentation(4, flip, 5, policy), Augmentation(4, flip, 0, None)
    nothing = Augmentation.none()
    assert [told["augmentation"] for told in loaders] == [trained, trained, nothing, plain, plain, nothing]
    assert [told["shuffle"] for told in loaders] == [True, True, False] * 2
    assert {told["kind"] for told in loaders[:3]} == {"torchvision"}
    assert {told["channels_last"] for told in loaders[:3]} == {True}
    assert {told["workers"] for told in loaders[:3]} == {3}
    assert loaders[0]["seed"] != loaders[1]["seed"]


def test_photographs_get_the_stem_that_is_asked_for():
    assert searcher().network.stem[0].stride == (1, 1)
    stems = [searcher(dataset="imagenet", imagenet_stem=stem).network.stem for stem in (None, "published", "darts")]
    assert [stem.state0[3].stride for stem in stems] == [(1, 1), (1, 1), (2, 2)]


def test_a_single_level_search_takes_joint_steps(tmp_path, monkeypatch):
    taken = []
    for name in ("joint_step", "architecture_step", "weight_step"):
        original = getattr(Iteration, name)
        monkeypatch.setattr(Iteration, name, lambda *a, _f=original, _n=name: (taken.append(_n), _f(*a))[1])
    for single in (False, True):
        ddarts.search(config(out=str(tmp_path), save=str(single), max_steps=1, single_level=single))
    assert taken == ["architecture_step", "weight_step", "joint_step"]


def test_device_and_precision_are_those_asked_for(monkeypatch):
    asked = []

    def pick(name, rank=None):
        asked.append(name)
        return CPU

    monkeypatch.setattr(launch, "pick_device", pick)
    for options, dtype in (
        ({}, torch.float32),
        ({"amp": True}, torch.bfloat16),
        ({"precision": "bf16"}, torch.bfloat16),
    ):
        chosen = config(**{**options, "device": "cuda:3"})
        with launch.open_ranks(chosen) as group:
            _, built = build_module.build(chosen, group)
        with built.autocast():
            assert F.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype == dtype
    assert set(asked) == {"cuda:3"}


SEARCHED = {
    "momentum": 0.8,  # with which the accuracies that the tests tell apart do differ
    "epochs": 4,
    "batch_size": 240,  # three steps an epoch
    "learning_rate": 0.08,
    "learning_rate_min": 0.01,
    "arch_learning_rate": 0.9,
    "arch_learning_rate_min": 0.2,
    "parse_method": "threshold_complete",
    "op_threshold": 0.55,
    "report_freq": 2,
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """One short search: (its folder, its rows by kind, σ(α), its last state)."""
    out = tmp_path_factory.mktemp("searched")
    ddarts.search(config(**SEARCHED, out=str(out), save="run"))
    folder = out / "search" / "run"
    rows: dict[str, list] = {}
    for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        rows.setdefault(row["kind"], []).append(row)
    return folder, rows, np.load(folder / "alphas.npz")["alphas"], CheckpointStore(folder / "checkpoints").load()[0]


def test_the_rates_follow_their_cosines(searched):
    rows = searched[1]["train"]
    assert [row["step"] for row in rows] == [2, 3, 4, 6, 8, 9, 10, 12]  # every second one, and the end of an epoch
    assert len(searched[1]["epoch"]) == 4
    for row in rows:
        along = (1 + math.cos(math.pi * row["epoch"] / 4)) / 2
        assert row["learning_rate"] == pytest.approx(0.01 + 0.07 * along)
        assert row["arch_learning_rate"] == pytest.approx(0.2 + 0.7 * along)
    assert {row["epoch"] for row in rows} == {0, 1, 2, 3}


def test_the_genotype_is_parsed_as_asked(searched):
    folder, rows, mixing, _ = searched
    assert read(folder / "genotype.json").cells == parse(mixing, DDARTS, 2, "threshold_complete", 0.55)
    assert parse(mixing, DDARTS, 2, "threshold_complete", 0.55) != parse(mixing, DDARTS, 2, "threshold_sparse", 0.55)
    assert rows["epoch"][-1]["above_threshold"] == int((mixing >= 0.55).sum())


def measured(searched, evaluation, weights):
    """Accuracy in percent and loss on the check images, by hand; `evaluation`: with the running statistics."""
    built = searcher()
    built.network.load_state_dict(searched[3]["network"])
    built.network.train(not evaluation)
    hits, loss, count = 0, 0.0, 0
    with torch.no_grad():
        for images, labels in data().check.epoch(0):
            logits = built.network(images, weights)
            hits += int((logits.argmax(1) == labels).sum())
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            count += len(labels)
    return 100 * hits / count, loss / count


def test_the_validation_accuracy_is_measured_in_evaluation_mode(searched):
    _, rows, mixing, _ = searched
    row, weights = rows["epoch"][-1], torch.from_numpy(mixing)
    accuracy, loss = measured(searched, True, weights)
    assert row["valid_acc"] == pytest.approx(accuracy) and row["valid_eval_loss"] == pytest.approx(loss, rel=1e-4)
    assert abs(measured(searched, False, weights)[1] - loss) > 0.01  # the test could not tell otherwise


def test_kept_operations_count_fully_in_the_discretised_network(searched):
    _, rows, mixing, _ = searched
    kept = keep_mask(mixing, DDARTS, 2, "threshold_complete", 0.55)
    assert kept.any(axis=(1, 2)).all() and not kept.all()
    accuracy, _ = measured(searched, False, torch.from_numpy(kept).float())
    assert rows["epoch"][-1]["discretised_acc"] == pytest.approx(accuracy)
    weighted, _ = measured(searched, False, torch.from_numpy(mixing * kept).float())
    assert weighted != pytest.approx(accuracy)  # the test could not tell otherwise
