"""Every option of the training changes what is computed, or has a reason why not."""

from dataclasses import replace

import pytest
import torch
from tiny_training import STEPS, run_dir_of

import ddarts
from ddarts.config import TrainConfig
from ddarts.config.options import specs
from ddarts.network.weights import read_network
from ddarts.train.build import build

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
    "cuda_graphs": "the same numbers, faster: tests/unit/runtime/test_graphs.py and tests/integration/test_train.py",
    "ema": "a network beside this one, with a file of its own",
    "out": "where the run lies",
    "save": "where the run lies",
    "resume": "the same bits: tests/integration/test_train.py",
    "checkpoint_every": "the same bits: tests/integration/test_train.py",
    "report_freq": "lines of the log",
    "profile": "the same bits, and a trace: tests/integration/test_train.py",
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
