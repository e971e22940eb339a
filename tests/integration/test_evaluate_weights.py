"""Measuring weights: those that do not belong are refused, published ones are read."""

from dataclasses import replace

import pytest
import torch
from tiny_training import CELL, OTHER, run_dir_of

import ddarts
from ddarts.config import EvaluateConfig
from ddarts.runtime.errors import DdartsError, UsageError


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
