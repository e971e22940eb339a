"""All loaders: same batches, from any point, whatever the batch size, the workers and the state of the world."""

import logging
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddarts.data.augment import Augmentation
from ddarts.data.batches import batch_bounds
from ddarts.data.images import ImageSet
from ddarts.data.loader import Loader, make_loader
from ddarts.runtime.availability import dali_problem
from ddarts.runtime.errors import DdartsError, UsageError

KINDS = (
    "resident",
    "torchvision",
    pytest.param("dali", marks=pytest.mark.skipif(dali_problem() is not None, reason="DALI is not installed")),
)
FULL = Augmentation(cutout_length=8, auto_augment="cifar10")


def _loader(images: ImageSet, batch_size: int = 32, **options) -> Loader:
    defaults = {"augmentation": Augmentation(cutout_length=8), "shuffle": True, "seed": 5}
    return make_loader(images, batch_size, **(defaults | options))


def _equal(first, second) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(padding=0), Augmentation.none(), FULL])
def test_the_torch_loaders_show_the_same_pixels(photo_set: ImageSet, augmentation: Augmentation) -> None:
    batches = [
        list(_loader(photo_set, kind=kind, augmentation=augmentation).epoch(3)) for kind in ("resident", "torchvision")
    ]
    std = min(photo_set.spec.std)
    for (images, labels), (other_images, other_labels) in zip(*batches, strict=True):
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        assert torch.equal(labels, other_labels)
        assert (images - other_images).abs().max() * std < 0.01 / 255


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("augmentation", [Augmentation(cutout_length=8), FULL])
def test_starting_anywhere_gives_the_same_batches(photo_set: ImageSet, kind: str, augmentation: Augmentation) -> None:
    loader = _loader(photo_set, kind=kind, augmentation=augmentation)
    whole = list(loader.epoch(2))
    assert len(whole) == loader.batches_per_epoch == 8
    list(loader.epoch(0, 6))  # another epoch in between leaves no trace
    fresh = _loader(photo_set, kind=kind, augmentation=augmentation)
    for start in (1, 5, 8):
        assert _equal(fresh.epoch(2, start), whole[start:])


@pytest.mark.parametrize("kind", KINDS)
def test_interleaved_epochs_do_not_disturb_each_other(photo_set: ImageSet, kind: str) -> None:
    loader = _loader(photo_set, kind=kind)
    alone = list(loader.epoch(0)), list(loader.epoch(1))
    both = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    assert _equal([pair[0] for pair in both], alone[0]) and _equal([pair[1] for pair in both], alone[1])
    assert not torch.equal(alone[0][0][1], alone[1][0][1])


@pytest.mark.parametrize("kind", KINDS)
def test_global_generators_are_neither_read_nor_changed(photo_set: ImageSet, kind: str) -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        iterator = _loader(photo_set, kind=kind, augmentation=FULL).epoch(0)
        results.append([next(iterator), next(iterator)])  # also while an epoch is under way
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    assert _equal(*results)


def test_workers_do_not_change_the_result(photo_set: ImageSet) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    loaders = [_loader(photo_set, 64, kind="torchvision", augmentation=FULL, workers=n) for n in (0, 2)]
    alone, helped = (list(loader.epoch(1)) for loader in loaders)
    assert _equal(alone, helped)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_shows_every_image_once_in_order(photo_set: ImageSet, kind: str) -> None:
    loader = _loader(photo_set, 50, kind=kind, augmentation=Augmentation.none(), shuffle=False)
    batches = list(loader.epoch(0))
    assert [len(labels) for _, labels in batches] == [50, 50, 50, 50, 40]
    assert torch.equal(torch.cat([labels for _, labels in batches]), photo_set.labels)
    assert _equal(batches, loader.epoch(7))


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_shows_no_image_twice(make_set, kind: str) -> None:
    images = torch.arange(100, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    loader = _loader(make_set(images), 30, kind=kind, augmentation=Augmentation.none(), drop_last=True)
    epochs = [torch.cat([(b[:, 0, 0, 0] * 255).round() for b, _ in loader.epoch(e)]).tolist() for e in range(6)]
    for shown in epochs:
        assert len(shown) == len(set(shown)) == 90 and shown != sorted(shown)
    assert epochs[0] != epochs[1]
    assert set().union(*epochs) == set(map(float, range(100)))


@given(count=st.integers(1, 300), batch_size=st.integers(1, 320), drop_last=st.booleans())
def test_batch_bounds(count: int, batch_size: int, drop_last: bool) -> None:
    bounds = batch_bounds(count, batch_size, drop_last)
    sizes = [last - first for first, last in bounds]
    assert bounds[0][0] == 0 and all(a[1] == b[0] for a, b in zip(bounds, bounds[1:], strict=False))
    assert min(sizes) >= 1 and set(sizes[:-1]) <= {min(batch_size, count)}
    if drop_last:
        assert set(sizes) == {min(batch_size, count)} and count - bounds[-1][1] < batch_size
    else:
        assert bounds[-1][1] == count


@settings(max_examples=15, deadline=None)
@given(batch_size=st.integers(1, 60), epoch=st.integers(0, 2**31))
def test_batch_size_does_not_change_what_is_shown(photo_set: ImageSet, batch_size: int, epoch: int) -> None:
    part = photo_set.subset(torch.arange(48))
    one = next(_loader(part, 48).epoch(epoch))
    many = [torch.cat(tensors) for tensors in zip(*_loader(part, batch_size).epoch(epoch), strict=True)]
    assert torch.equal(one[0], many[0]) and torch.equal(one[1], many[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation.none(), FULL])
def test_channels_last_is_only_a_layout(photo_set: ImageSet, kind: str, augmentation: Augmentation) -> None:
    plain = next(_loader(photo_set, kind=kind, augmentation=augmentation).epoch(0))[0]
    other = next(_loader(photo_set, kind=kind, augmentation=augmentation, channels_last=True).epoch(0))[0]
    assert plain.is_contiguous() and other.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, other)


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_not_square(make_set, photos, kind: str) -> None:
    images = make_set(torch.from_numpy(photos[:20, :, :20, :].copy()))
    batch = next(_loader(images, 20, kind=kind).epoch(0))[0]
    reference = next(_loader(images, 20, kind="torchvision").epoch(0))[0]
    assert batch.shape == (20, 3, 20, 32)
    torch.testing.assert_close(batch, reference, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_share_memory_with_the_set(photo_set: ImageSet, kind: str) -> None:
    kept = photo_set.images.clone()
    alone = Augmentation(padding=0, flip=False, auto_augment="imagenet")
    for augmentation in (Augmentation.none(), FULL, alone):
        images, labels = next(_loader(photo_set, kind=kind, augmentation=augmentation, shuffle=False).epoch(0))
        images.zero_(), labels.zero_()
    assert torch.equal(kept, photo_set.images) and photo_set.labels.sum() > 0


def test_auto_takes_the_resident_loader_and_says_so_once(photo_set: ImageSet, caplog) -> None:
    from ddarts.data.loader import _say_once
    from ddarts.data.resident import ResidentLoader

    _say_once.cache_clear()
    with caplog.at_level("INFO", logger="ddarts"):
        assert all(isinstance(_loader(photo_set), ResidentLoader) for _ in range(2))
    assert [record.getMessage() for record in caplog.records] == ["loader: resident (auto: the images are in memory)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "ffcv"}, "--loader ffcv: unknown.*auto, resident, torchvision"),
        ({"batch_size": 0}, "--batch_size 0: must be 1"),
        ({"workers": -1}, "workers -1"),
    ],
)
def test_wrong_options(photo_set: ImageSet, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _loader(photo_set, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_positions_fail_at_once(photo_set: ImageSet, kind: str) -> None:
    loader = _loader(photo_set, kind=kind)
    for epoch, start in ((-1, 0), (0, -1), (0, 9)):
        with pytest.raises(ValueError, match="must be|an epoch has"):
            loader.epoch(epoch, start)
    with pytest.raises(DdartsError, match="no image"):
        _loader(photo_set.subset(torch.arange(0)))


def test_a_batch_larger_than_the_set_is_said_once_for_training_images(photo_set: ImageSet, caplog) -> None:
    with caplog.at_level(logging.INFO, "ddarts.data"):
        for size, shuffle in ((240, True), (241, False), (1000, True)):
            _loader(photo_set, size, shuffle=shuffle, kind="torchvision")
    assert [record.getMessage() for record in caplog.records] == [
        "batch_size 1000: the set has 240 images, every batch holds all of them"
    ]
