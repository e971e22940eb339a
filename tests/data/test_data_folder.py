"""Class folders: layouts, kinds of image files, and everything that can be wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddarts.data.datasets import load
from ddarts.data.decode import thumbnail
from ddarts.data.folder import list_folder, load_folder
from ddarts.data.memory import available_memory
from ddarts.data.specs import SPECS
from ddarts.runtime.errors import DdartsError, UsageError


def _save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    (image.convert(mode) if mode else image).save(path)


@pytest.fixture
def root(tmp_path: Path, photos: np.ndarray) -> Path:
    """Three classes, six training and two validation images each, PNG."""
    for label, name in enumerate(("b_second", "a_first", "c_third")):
        for number in range(8):
            split = "train" if number < 6 else "val"
            _save(tmp_path / split / name / f"{number}.png", photos[8 * label + number])
    return tmp_path


def test_split_folders(root: Path, photos: np.ndarray) -> None:
    train, valid = load("folder", root), load("folder", root, "test")
    assert train.class_names == valid.class_names == ("a_first", "b_second", "c_third")
    assert train.spec.num_classes == 3 and train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    np.testing.assert_array_equal(train.images[:6], photos[8:14])
    np.testing.assert_array_equal(valid.images[2:4], photos[6:8])


def test_test_folder_wins_over_val(root: Path, photos: np.ndarray) -> None:
    for name in ("a_first", "b_second", "c_third"):
        _save(root / "test" / name / "x.png", photos[100])
    assert len(load("folder", root, "test")) == 3


def test_folders_without_split(root: Path) -> None:
    whole = load("folder", root / "train")
    held = load("folder", root / "train", "test")
    assert held.labels.bincount().tolist() == [1, 1, 1] and whole.labels.bincount().tolist() == [5, 5, 5]
    everything = {image.numpy().tobytes() for part in (whole, held) for image in part.images}
    assert len(everything) == 18
    again = load("folder", root / "train", "test")
    assert (again.images == held.images).all()


def test_resize_keeps_the_shape_and_crops_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((3, 40, 120), np.uint8)
    wide[0, :, :40], wide[1, :, 40:80], wide[2, :, 80:] = 255, 255, 255  # red, green, blue
    _save(tmp_path / "wide.png", wide)
    pixels = thumbnail(tmp_path / "wide.png", 32)
    assert pixels.shape == (32, 32, 3) and (pixels[:, 4:-4] == (0, 255, 0)).all()
    _save(tmp_path / "tall.png", wide.transpose(0, 2, 1))
    np.testing.assert_array_equal(thumbnail(tmp_path / "tall.png", 32), pixels.transpose(1, 0, 2))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_colour_modes(tmp_path: Path, photos: np.ndarray, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    _save(tmp_path / f"image.{suffix}", photos[0], mode)
    expected = Image.fromarray(photos[0].transpose(1, 2, 0)).convert(mode).convert("RGB")
    np.testing.assert_array_equal(thumbnail(tmp_path / f"image.{suffix}", 32), np.asarray(expected))


def test_cmyk_jpeg_and_png_named_jpg(tmp_path: Path, photos: np.ndarray) -> None:
    smooth = np.broadcast_to(np.arange(32, dtype=np.uint8) * 4 + 60, (3, 32, 32))
    _save(tmp_path / "cmyk.jpg", smooth, "CMYK")
    assert np.abs(thumbnail(tmp_path / "cmyk.jpg", 32).astype(int) - smooth.transpose(1, 2, 0)).max() <= 8
    _save(tmp_path / "real.png", photos[3])
    (tmp_path / "real.png").rename(tmp_path / "named.jpg")
    np.testing.assert_array_equal(thumbnail(tmp_path / "named.jpg", 32), photos[3].transpose(1, 2, 0))


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = (np.arange(1024, dtype=np.uint16) * 64).reshape(32, 32)
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(thumbnail(tmp_path / "deep.png", 32)[..., 1], values >> 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "val" / "a_first").rename(root / "val" / "new"), "val: .*missing a_first; extra new"),
        (lambda root: (root / "val" / "fourth").mkdir(), "val: its class folders differ.*extra fourth"),
        (lambda root: [(root / s / "d_empty").mkdir() for s in ("train", "val")], "d_empty: the class folder is empty"),
        (lambda root: (root / "train" / "a_first" / "0.png").write_bytes(b""), "a_first/0.png: the file is empty"),
        (lambda root: (root / "train" / "c_third" / "x.jpg").write_bytes(b"nothing"), "x.jpg: not a readable image"),
        (lambda root: (root / "train" / "c_third" / "sub").mkdir(), "c_third/sub: a folder where"),
    ],
)
def test_broken_folders(root: Path, change, message: str) -> None:
    change(root)
    with pytest.raises(DdartsError, match=message) as caught:
        load("folder", root)
    assert "\n" not in str(caught.value)


def test_truncated_images_are_named(tmp_path: Path, photos: np.ndarray) -> None:
    for suffix in ("jpg", "png"):
        path = tmp_path / f"cut.{suffix}"
        _save(path, np.tile(photos[0], (1, 4, 4)))
        content = path.read_bytes()
        for part in (20, len(content) // 2, len(content) - len(content) // 5):
            path.write_bytes(content[:part])
            with pytest.raises(DdartsError, match=f"cut.{suffix}: not a readable image"):
                thumbnail(path, 32)


def test_hidden_files_are_ignored(root: Path) -> None:
    (root / "train" / "a_first" / ".DS_Store").write_bytes(b"x")
    (root / "train" / ".cache").mkdir()
    assert len(load("folder", root)) == 18


def test_layouts_that_are_not_class_folders(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UsageError, match="at least 2 are needed"):
        load("folder", tmp_path_factory.mktemp("empty"))
    with pytest.raises(UsageError, match="0 class folder"):
        load("folder", root / "train" / "a_first")
    for path in sorted((root / "val").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (root / "val").rmdir()
    assert len(load("folder", root)) == 18
    with pytest.raises(UsageError, match="neither test nor val"):
        load("folder", root, "test")


def test_one_image_cannot_be_split(root: Path, photos: np.ndarray) -> None:
    _save(root / "train" / "lonely" / "1.png", photos[0])
    with pytest.raises(DdartsError, match="lonely: one image cannot be split"):
        load("folder", root / "train")


def test_memory_limit_is_checked_before_decoding(root: Path) -> None:
    (root / "train" / "a_first" / "0.png").write_bytes(b"not an image")
    with pytest.raises(DdartsError, match="18 images of 32x32 need 0.05 MiB.*0.03 MiB may be used.*--image_size"):
        load_folder(list_folder(SPECS["folder"], root, "train"), root, memory_limit=18 * 3 * 32 * 32 // 2)
    assert 2**20 < available_memory() < 2**50


def test_image_size(root: Path) -> None:
    large = load("folder", root, image_size=48)
    assert large.images.shape[2:] == (48, 48) and large.spec.image_size == 48
