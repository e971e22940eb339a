"""Photographs in files: what every loader shows of them, on any number of ranks, and what is said of bad ones."""

import gc
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ddarts_benchmarks.photographs import make_tree
from PIL import Image
from torchvision.transforms import v2

from ddarts.data.augment import Augmentation
from ddarts.data.datasets import load
from ddarts.data.draws import plan_epoch
from ddarts.data.geometry import centre_crop, random_crop
from ddarts.data.images import FileSet
from ddarts.data.loader import Loader, choose, make_loader
from ddarts.runtime.availability import dali_problem
from ddarts.runtime.errors import DdartsError

needs_dali = pytest.mark.skipif(dali_problem() is not None, reason="DALI is not installed")
KINDS = ("torchvision", "resident", pytest.param("dali", marks=needs_dali))
SIZE = 64
WINDOW = Augmentation(padding=0, random_window=True)
FULL = replace(WINDOW, colour_jitter=True, auto_augment="imagenet", cutout_length=16)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("photographs"), train=8, val=3, size=160)


@pytest.fixture(scope="module")
def files(tree: Path) -> FileSet:
    found = load("folder", tree, image_size=SIZE)
    assert isinstance(found, FileSet)
    return found


def _loader(files: FileSet, batch_size: int = 12, **options) -> Loader:
    return make_loader(files, batch_size, **({"augmentation": WINDOW, "shuffle": True, "seed": 4, **options}))


def _bytes(images: torch.Tensor, files: FileSet) -> torch.Tensor:
    """Back from normalised images to 0..255."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (files.spec.mean, files.spec.std))
    return 255 * (images * std + mean)


def _all(loader: Loader, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = (torch.cat(tensors) for tensors in zip(*loader.epoch(epoch), strict=True))
    return images, labels


@needs_dali
@pytest.mark.parametrize("augmentation", [Augmentation.none(), WINDOW, replace(WINDOW, cutout_length=20)])
def test_dali_shows_the_same_crops_and_mirrors_within_one_step_of_a_byte(files, augmentation) -> None:
    """At the border of a window DALI repeats the outermost pixels, where torch leaves them out of the mean."""
    pairs = [
        _all(_loader(files, kind=kind, augmentation=augmentation, shuffle=False)) for kind in ("torchvision", "dali")
    ]
    (expected, labels), (found, other_labels) = pairs
    assert torch.equal(labels, other_labels)
    difference = (_bytes(expected, files) - _bytes(found, files)).abs()
    assert difference[..., 1:-1, 1:-1].max() < 1.01
    assert difference.mean() < 0.5
    if augmentation == Augmentation.none():  # the middle lies off the border
        assert difference.max() < 1.01


@needs_dali
def test_dali_changes_colours_alike(files: FileSet) -> None:
    """One step of a byte before the colours are changed is at most three after it, and more only where they meet
    the ends of the range."""
    jittered = replace(WINDOW, colour_jitter=True)
    expected, found = (
        _bytes(_all(_loader(files, kind=kind, augmentation=jittered, shuffle=False))[0], files)
        for kind in ("torchvision", "dali")
    )
    plain = _bytes(_all(_loader(files, kind="dali", augmentation=WINDOW, shuffle=False))[0], files)
    inner = (expected - found).abs()[..., 1:-1, 1:-1]
    assert inner.mean() < 0.6 and (inner > 4).float().mean() < 0.01
    assert (plain - found).abs().mean() > 10  # and they are changed


def test_the_resident_loader_shows_the_same_windows(files: FileSet) -> None:
    """From shrunk images, so not the same pixels: but nearer to the same window than to any other."""
    expected, found = (
        _all(_loader(files, kind=kind, shuffle=False, augmentation=replace(WINDOW, flip=False)))[0]
        for kind in ("torchvision", "resident")
    )
    distances = torch.cdist(expected.flatten(1), found.flatten(1))
    assert torch.equal(distances.argmin(1), torch.arange(len(files)))


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_torchvision_s_resize_and_centre_crop(files: FileSet, kind: str) -> None:
    spec = files.spec
    usual = v2.Compose([v2.Resize(spec.val_resize, antialias=True), v2.CenterCrop(SIZE), v2.PILToTensor()])
    expected = torch.stack([usual(Image.open(path)) for path in files.paths]).float()
    images, _ = _all(_loader(files, kind=kind, augmentation=Augmentation.none(), shuffle=False))
    assert (_bytes(images, files) - expected).abs().max() < 2.01  # Pillow rounds twice


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("augmentation", [WINDOW, FULL])
def test_starting_anywhere_gives_the_same_batches(files: FileSet, kind: str, augmentation: Augmentation) -> None:
    loader = _loader(files, kind=kind, augmentation=augmentation)
    whole = list(loader.epoch(2))
    abandoned = loader.epoch(5)
    next(abandoned)
    abandoned.close()  # an epoch that is left in the middle leaves no trace
    for fresh in (loader, _loader(files, kind=kind, augmentation=augmentation)):
        for start in (1, 2, 3):
            rest = list(fresh.epoch(2, start))
            assert len(rest) == len(whole) - start
            assert all(
                torch.equal(a, b) for x, y in zip(rest, whole[start:], strict=True) for a, b in zip(x, y, strict=True)
            )


@needs_dali
def test_the_number_of_threads_changes_nothing(files: FileSet) -> None:
    one, four = (_all(_loader(files, kind="dali", augmentation=FULL, workers=n)) for n in (1, 4))
    assert torch.equal(one[0], four[0]) and torch.equal(one[1], four[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_is_evaluated_once_on_any_number_of_ranks(files: FileSet, kind: str) -> None:
    plain = {"augmentation": Augmentation.none(), "shuffle": False, "kind": kind}
    whole = _all(_loader(files, 5, **plain))[0]
    for ranks in (2, 3, 7):
        shares = [_loader(files, 5, rank=rank, world_size=ranks, **plain) for rank in range(ranks)]
        shown = torch.cat([_all(share)[0] for share in shares])
        assert len(shown) == len(whole)
        nearest = torch.cdist(whole.flatten(1), shown.flatten(1)).argmin(1)
        assert len(set(nearest.tolist())) == len(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ranks_together_train_on_what_one_rank_would(files: FileSet, kind: str) -> None:
    alone = list(_loader(files, 8, kind=kind, drop_last=True).epoch(1))
    pairs = [list(_loader(files, 4, kind=kind, drop_last=True, rank=rank, world_size=2).epoch(1)) for rank in (0, 1)]
    for whole, first, second in zip(alone, *pairs, strict=True):
        assert torch.equal(whole[0], torch.cat([first[0], second[0]]))
        assert torch.equal(whole[1], torch.cat([first[1], second[1]]))


def test_random_windows_are_distributed_as_torchvision_s() -> None:
    height, width, count = 90, 160, 4000
    numbers = plan_epoch(count, SIZE, SIZE, WINDOW, False, 0, 0).window.tolist()
    ours = np.array([random_crop(height, width, SIZE, row)[:4] for row in numbers], float)
    theirs = np.array([_torchvision_window(height, width) for _ in range(count)], float)
    for column in range(4):
        quantiles = [np.quantile(values[:, column], np.linspace(0.1, 0.9, 9)) for values in (ours, theirs)]
        assert np.abs(quantiles[0] - quantiles[1]).max() < 4, column
    area = ours[:, 2] * ours[:, 3] / (height * width)
    assert 0.07 < area.min() < 0.09 and area.max() <= 1
    inside = (ours[:, 0] + ours[:, 2] <= height) & (ours[:, 1] + ours[:, 3] <= width) & (ours >= 0).all(1)
    assert inside.all()


def _torchvision_window(height: int, width: int) -> list[int]:
    chosen = v2.RandomResizedCrop(SIZE).make_params([torch.empty(3, height, width)])
    return [chosen[name] for name in ("top", "left", "height", "width")]


@pytest.mark.parametrize(("height", "width"), [(10, 400), (400, 10), (1, 1), (3, 2)])
def test_windows_of_odd_images_stay_inside(height: int, width: int) -> None:
    for row in plan_epoch(50, SIZE, SIZE, WINDOW, False, 0, 0).window.tolist():
        top, left, h, w, *_ = random_crop(height, width, SIZE, row)
        assert top >= 0 and left >= 0 and 1 <= h <= height - top and 1 <= w <= width - left
        assert h / w <= 4 / 3 + 1 / min(w, h) or h == 1 or w == 1


def test_the_middle_is_shown_for_evaluation() -> None:
    assert centre_crop(375, 500, 224, 256)[2:] == (375, 500, 256, 341, 16, 58)
    assert centre_crop(500, 375, 224, 256)[4:6] == (341, 256)
    assert math.isclose(centre_crop(64, 64, 64, 64).square_top, 0)


@pytest.mark.parametrize("kind", ("torchvision", pytest.param("dali", marks=needs_dali)))
def test_unusual_files_are_read_and_unreadable_ones_named(tree: Path, tmp_path: Path, kind: str) -> None:
    photograph = Image.open(next((tree / "train" / "n00000003").iterdir()))
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
    photograph.convert("CMYK").save(tmp_path / "a" / "cmyk.jpg")
    photograph.save(tmp_path / "a" / "png.jpg", "PNG")
    photograph.convert("L").save(tmp_path / "a" / "grey.jpg")
    photograph.convert("P").save(tmp_path / "b" / "palette.png")
    photograph.save(tmp_path / "b" / "plain.jpg", quality=95)
    paths = sorted(map(str, tmp_path.rglob("*.*")))
    spec = load("folder", tree, image_size=SIZE).spec
    made = FileSet(paths, torch.zeros(len(paths), dtype=torch.int64), ("a", "b"), spec)
    plain = {"augmentation": Augmentation.none(), "shuffle": False}
    shown = _bytes(_all(_loader(made, kind=kind, **plain))[0], made)
    expected = _bytes(_all(_loader(made, kind="torchvision", **plain))[0], made)
    assert (shown - expected).abs().max() < 1.01
    whole = (tmp_path / "b" / "plain.jpg").read_bytes()
    for content, said in (
        (b"", "the file is empty"),
        (b"no image", "not a readable"),
        (whole[: len(whole) // 2], "truncated"),
    ):
        (tmp_path / "b" / "plain.jpg").write_bytes(content)
        with pytest.raises(DdartsError, match=f"b/plain.jpg: .*{said}"):
            _all(_loader(made, kind=kind, **plain))
    (tmp_path / "b" / "plain.jpg").write_bytes(whole)
    assert len(_all(_loader(made, kind=kind, **plain))[0]) == len(paths)


@needs_dali
def test_a_loader_that_is_gone_leaves_no_pipeline_to_the_collector(files: FileSet) -> None:
    """In a process that is forked later the collector could not take it apart, and would hang."""
    loader = _loader(files, kind="dali")
    _all(loader)
    pipeline = loader._idle[0]._pipeline  # type: ignore[attr-defined]
    gc.disable()
    try:
        assert pipeline._pipe is not None
        del loader
        assert pipeline._pipe is None
    finally:
        gc.enable()


@needs_dali
def test_auto_takes_dali_for_files(files: FileSet) -> None:
    assert choose(files) == ("dali", "the images are decoded from their files each time they are shown")


def test_without_dali_auto_takes_torchvision_and_dali_is_refused(files: FileSet, monkeypatch) -> None:
    for module in ("ddarts.data.loader", "ddarts.config.common"):
        monkeypatch.setattr(f"{module}.dali_problem", lambda: "DALI is not installed: do this")
    assert choose(files) == ("torchvision", "DALI is not installed: do this")
    with pytest.raises(DdartsError, match="--loader dali: DALI is not installed: do this"):
        _loader(files, kind="dali")
