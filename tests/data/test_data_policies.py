"""AutoAugment and colour jitter: the published policies, the same in torch and in DALI."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from ddarts.data import colour, policies
from ddarts.data.augment import Augmentation
from ddarts.data.draws import generator
from ddarts.data.images import ImageSet
from ddarts.data.loader import make_loader
from ddarts.runtime.availability import dali_problem

needs_dali = pytest.mark.skipif(dali_problem() is not None, reason="DALI is not installed")
SIGNED = [name for name, operation in policies.OPERATIONS.items() if operation.signed]
# DALI rounds ties between pixels otherwise when it shears, keeps no border when it sharpens, and equalizes as OpenCV
# does instead of Pillow: the share of values that may differ by more than two.
DIFFERENT = {"shear_x": 0.01, "shear_y": 0.01, "sharpness": 0.05, "equalize": 1.0}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_the_tables_are_torchvision_s(policy: str) -> None:
    theirs = v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies
    ours = [
        tuple((_camel(policies.NAMES[int(number)]), probability, int(bin)) for number, probability, bin in pair)
        for pair in policies.POLICIES[policy]
    ]
    assert ours == [tuple((name, chance, bin or 0) for name, chance, bin in pair) for pair in theirs]


@pytest.mark.parametrize("name", policies.NAMES)
def test_every_operation_is_torchvision_s(photos: np.ndarray, name: str) -> None:
    image = torch.from_numpy(photos[3])
    transform, number = v2.AutoAugment(), policies.NAMES.index(name)
    for bin in range(policies.BINS):
        for turned in (0, 1):
            found = policies.apply(image.clone(), [[number, bin, turned], [0, 0, 0]])
            if name == "identity":
                assert torch.equal(found, image)
                continue
            magnitudes, signed = transform._AUGMENTATION_SPACE[_camel(name)]
            table = magnitudes(policies.BINS, *image.shape[1:])
            magnitude = 0.0 if table is None else float(table[bin]) * (-1 if turned and signed else 1)
            expected = transform._apply_image_or_video_transform(image, _camel(name), magnitude, "nearest", {})
            # The strengths differ in their last bit, which may turn a rounding
            assert (found.int() - expected.int()).abs().max() <= 1, (bin, turned)


@pytest.mark.parametrize("policy", policies.POLICIES)
def test_steps_happen_as_often_as_the_policy_says(policy: str) -> None:
    count = 60_000
    steps = policies.choose(policy, count, generator(0, "policy"))
    expected = np.zeros(len(policies.NAMES))
    for number, probability, _ in policies.POLICIES[policy].reshape(-1, 3):
        expected[int(number)] += probability / 25
    expected[0] = 2 - expected.sum()
    found = np.bincount(steps[..., 0].ravel(), minlength=len(policies.NAMES)) / count
    assert np.abs(found - expected).max() < 0.01
    assert abs(steps[..., 2].mean() - 0.5) < 0.01


def test_auto_augment_leaves_the_global_generators_alone(photos: np.ndarray) -> None:
    images = torch.from_numpy(photos[:40])
    steps = policies.choose("cifar10", 40, generator(1, "policy")).tolist()
    before = torch.get_rng_state()
    changed = [
        not torch.equal(policies.apply(image.clone(), pair), image) for image, pair in zip(images, steps, strict=True)
    ]
    assert torch.equal(before, torch.get_rng_state()) and 0.3 < np.mean(changed) < 1


@needs_dali
@pytest.mark.parametrize("name", policies.NAMES)
def test_dali_does_the_same(photo_set: ImageSet, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def choose(policy: str, count: int, random: np.random.Generator) -> np.ndarray:
        number = np.full(count, policies.NAMES.index(name))
        first = np.stack([number, np.arange(count) % 10, np.arange(count) // 10 % 2], axis=1)
        return np.stack([first, np.zeros_like(first)], axis=1)

    monkeypatch.setattr(policies, "choose", choose)
    options = {"augmentation": Augmentation(padding=0, flip=False, auto_augment="cifar10"), "shuffle": False, "seed": 0}
    expected, found = (
        next(make_loader(photo_set, 240, kind=kind, **options).epoch(0))[0] for kind in ("torchvision", "dali")
    )
    std = torch.tensor(photo_set.spec.std).view(1, 3, 1, 1)
    difference = (expected - found).abs() * std * 255
    assert (difference > 2.01).float().mean() <= DIFFERENT.get(name, 0.0)
    if name == "sharpness":
        assert difference[..., 1:-1, 1:-1].max() < 1.01
    if name == "equalize":  # both flatten the histogram of a channel: as wide, as even, in the same order
        assert difference.mean() < 20
        theirs, ours = ((images * std * 255).flatten(2) for images in (expected, found))
        levels = torch.linspace(0.1, 0.9, 9)
        deciles = [torch.quantile(values, levels, dim=2).mean((1, 2)) for values in (theirs, ours)]
        assert (deciles[0] - deciles[1]).abs().max() < 16
        assert (theirs.std(2).mean() - ours.std(2).mean()).abs() < 3 and ours.std(2).mean() > 70  # 20 before
        centred = [values - values.mean(2, keepdim=True) for values in (theirs, ours)]
        together = (centred[0] * centred[1]).mean(2) / (theirs.std(2) * ours.std(2))
        assert together.min() > 0.75 and together.mean() > 0.98


def test_colour_jitter_is_what_its_four_parts_are_one_by_one(photos: np.ndarray) -> None:
    images = torch.from_numpy(photos[:6])
    grey = torch.tensor(colour.GREY)
    for part in range(3):
        numbers = torch.zeros(6, 4)
        numbers[:, part] = torch.linspace(-1, 1, 6)
        factor = (1 + 0.4 * numbers[:, part]).view(6, 1, 1, 1)
        pixels = images.float()
        brightness = (grey.view(1, 3, 1, 1) * pixels).sum(1, keepdim=True)
        towards = (torch.zeros(6, 1, 1, 1), brightness.mean((1, 2, 3), keepdim=True), brightness)[part]
        expected = (towards + (pixels - towards) * factor).clamp(0, 255)
        assert (colour.jitter(images, numbers).float() - expected).abs().max() < 0.51 + 1e-3
    assert torch.equal(colour.jitter(images, torch.zeros(6, 4)), images)


def test_hue_turns_colours_and_leaves_greys() -> None:
    grey = torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)
    red = torch.tensor([200, 60, 60], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4).contiguous()
    there, back = (torch.tensor([[0, 0, 0, turn]]) for turn in (1.0, -1.0))
    assert torch.equal(colour.jitter(grey, there), grey)
    turned = colour.jitter(red, there)
    assert (turned.int() - red.int()).abs().max() > 50
    assert (colour.jitter(turned, back).int() - red.int()).abs().max() <= 2
    weights = torch.tensor(colour.GREY)
    assert abs(weights @ turned[0, :, 0, 0].float() - weights @ red[0, :, 0, 0].float()) < 1  # as bright as before
