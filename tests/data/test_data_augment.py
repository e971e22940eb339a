"""What augmentation does to pixels, and how often."""

import pytest
import torch

from ddarts.data.augment import Augmentation
from ddarts.data.draws import generator, plan_epoch
from ddarts.data.loader import make_loader
from ddarts.data.pixels import cutout_mask
from ddarts.runtime.availability import dali_problem
from ddarts.runtime.errors import UsageError

KINDS = ("resident", "torchvision", *(["dali"] if dali_problem() is None else []))


def _one_batch(images, augmentation: Augmentation, kind: str, seed: int = 0) -> torch.Tensor:
    loader = make_loader(images, len(images), augmentation=augmentation, shuffle=False, seed=seed, kind=kind)
    return next(loader.epoch(0))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_crop_offsets_and_flips_are_uniform(make_set, kind: str) -> None:
    """Each pixel holds its own row and column, so that every crop and flip can be read off the result."""
    side, count = 16, 1500
    image = torch.zeros(3, side, side, dtype=torch.uint8)
    image[0], image[1] = torch.arange(1, side + 1).view(-1, 1), torch.arange(1, side + 1)
    images = make_set(image.expand(count, -1, -1, -1).contiguous())
    batch = (_one_batch(images, Augmentation(), kind) * 255).round().long()
    centre = side // 2
    rows = batch[:, 0, centre, centre] - 1 - centre  # crop offset minus padding
    flipped = batch[:, 1, centre, centre] > batch[:, 1, centre, centre + 1]
    seen = torch.where(flipped, side - 1 - centre, centre)
    columns = batch[:, 1, centre, centre] - 1 - seen
    assert abs(flipped.float().mean() - 0.5) < 0.05
    for offsets in (rows, columns):
        counts = (offsets + 4).bincount(minlength=9)
        assert len(counts) == 9
        chi_square = ((counts - count / 9) ** 2 / (count / 9)).sum()
        assert chi_square < 26.1  # 99.9 % of chi-square with 8 degrees of freedom
    # independent of each other, and whole images are what the offsets say
    assert abs(torch.corrcoef(torch.stack([rows, columns, flipped]).double()).triu(1)).max() < 0.1
    for index in range(0, count, 100):
        row = torch.arange(side) + rows[index]
        inside = (row >= 0) & (row < side)
        assert torch.equal(batch[index, 0].max(1).values, torch.where(inside, row + 1, 0))


def test_no_augmentation_is_only_normalising(photo_set) -> None:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (photo_set.spec.mean, photo_set.spec.std))
    expected = (photo_set.images.double() / 255 - mean) / std
    for kind in KINDS:
        batch = _one_batch(photo_set, Augmentation.none(), kind)
        torch.testing.assert_close(batch.double(), expected, rtol=0, atol=2e-6)


def test_flip_alone(make_set, photos) -> None:
    images = make_set(torch.from_numpy(photos))
    for kind in KINDS:
        batch = (_one_batch(images, Augmentation(padding=0), kind) * 255).round().to(torch.uint8)
        same = (batch == images.images).flatten(1).all(1)
        mirrored = (batch == images.images.flip(3)).flatten(1).all(1)
        assert (same ^ mirrored).all() and 80 < int(mirrored.sum()) < 160


@pytest.mark.parametrize(("length", "row", "column", "area"), [(16, 16, 16, 256), (16, 0, 0, 64), (5, 10, 31, 15)])
def test_cutout_square(length: int, row: int, column: int, area: int) -> None:
    mask = cutout_mask(torch.tensor([row]), torch.tensor([column]), length, 32, 32)[0, 0]
    assert int(mask.sum()) == area
    rows = mask.any(1).nonzero().flatten().tolist()
    assert rows == list(range(max(0, row - length // 2), min(32, row - length // 2 + length)))


@pytest.mark.parametrize("kind", KINDS)
def test_cutout_area_and_value(make_set, kind: str) -> None:
    """White images: what is 0 after normalising was cut."""
    images = make_set(torch.full((1200, 3, 32, 32), 255, dtype=torch.uint8))
    batch = _one_batch(images, Augmentation(padding=0, flip=False, cutout_length=16), kind)
    cut = batch == 0
    assert (cut[:, 0] == cut[:, 2]).all() and (batch[~cut] == 1).all()
    sides = [min(32, centre + 8) - max(0, centre - 8) for centre in range(32)]
    expected = (sum(sides) / 32) ** 2
    assert cut[:, 0].sum((1, 2)).float().mean().item() == pytest.approx(expected, rel=0.04)
    assert cut[:, 0].float().mean(0).min() > 0.04  # corners are reached


def test_streams_are_independent() -> None:
    """Turning cutout or AutoAugment on leaves the crops alone, and other epochs and seeds draw other numbers."""
    plain = plan_epoch(500, 32, 32, Augmentation(), True, 0, 0)
    more = plan_epoch(500, 32, 32, Augmentation(cutout_length=16, auto_augment="cifar10"), True, 0, 0)
    assert torch.equal(plain.top, more.top) and torch.equal(plain.image, more.image)
    for seed, epoch in ((0, 1), (1, 0)):
        other = plan_epoch(500, 32, 32, Augmentation(), True, seed, epoch)
        for name in ("image", "top", "left", "flip", "cut_row", "cut_column"):
            assert not torch.equal(getattr(plain, name), getattr(other, name)), name
    wide = plan_epoch(2000, 20, 32, Augmentation(), True, 0, 0)
    assert (int(wide.cut_row.max()), int(wide.cut_column.max())) == (19, 31)
    assert generator(2**32, "order").random() != generator(0, "order", 1).random()


def test_auto_augment_comes_after_the_crop_and_before_cutout(photo_set) -> None:
    for kind in KINDS:
        batch = _one_batch(photo_set, Augmentation(cutout_length=16, auto_augment="cifar10"), kind)
        assert batch.isfinite().all()
        cut = (batch == 0).all(1).flatten(1).sum(1)
        assert (cut >= 64).all()  # the square is exactly 0: nothing touched it afterwards


@pytest.mark.parametrize("values", [{"padding": -1}, {"cutout_length": -1}, {"auto_augment": "svhn"}])
def test_wrong_values(values: dict) -> None:
    with pytest.raises(UsageError, match=str(next(iter(values.values())))):
        Augmentation(**values)
