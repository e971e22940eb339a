"""Digits, Fashion-MNIST and what `load` says when asked for something it cannot give."""

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ddarts.data.datasets import load
from ddarts.data.images import ImageSet
from ddarts.data.specs import SPECS, spec
from ddarts.runtime.errors import DdartsError, UsageError

FASHION = Path("/usr/share/datasets/fashion-mnist")


def _statistics(images: torch.Tensor) -> tuple[float, float]:
    values = images.double() / 255
    return values.mean().item(), values.std(correction=0).item()


def test_specs_do_not_import_heavy_packages() -> None:
    code = "import sys, ddarts.data.specs; print([m for m in ('torch', 'numpy', 'sklearn', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_spec_names_the_known_sets() -> None:
    assert spec("cifar100").num_classes == 100
    with pytest.raises(UsageError, match="--dataset svhn.*digits.*folder"):
        spec("svhn")


def test_digits_split_is_the_fixed_one() -> None:
    from sklearn.datasets import load_digits

    from ddarts.data.digits import split_indices

    train, test = split_indices(load_digits().target)
    assert (len(train), len(test)) == (1437, 360)
    assert sorted([*train, *test]) == list(range(1797))
    digest = hashlib.sha256(test.astype("<i8").tobytes()).hexdigest()
    assert digest == "2fbaae31b8c6aad12464a07771b64269876d904bfed86f77a63c8265fa201621"


def test_digits_images() -> None:
    from sklearn.datasets import load_digits

    from ddarts.data.digits import split_indices

    train, test = load("digits"), load("digits", split="test")
    assert train.images.shape == (1437, 3, 32, 32) and test.images.shape == (360, 3, 32, 32)
    assert (train.images[:, 0] == train.images[:, 2]).all() and train.images.max() == 255
    assert test.labels.bincount().min() >= 34 and train.num_classes == 10
    # Bilinear by 4: the middle four pixels of every source pixel's block straddle it; a 2x2 mean has the same mean.
    source = load_digits()
    indices = split_indices(source.target)[1]
    np.testing.assert_array_equal(test.labels, source.target[indices])
    block = test.images[:, 0].double().reshape(-1, 8, 4, 8, 4)[:, :, 1:3, :, 1:3].mean((2, 4))
    assert np.corrcoef(block.flatten(), source.images[indices].flatten())[0, 1] > 0.99
    mean, std = _statistics(train.images)
    assert mean == pytest.approx(train.spec.mean[0], abs=1e-5) and std == pytest.approx(train.spec.std[0], abs=1e-5)
    assert not train.spec.flip


def test_digits_in_another_size() -> None:
    small = load("digits", image_size=16)
    assert small.images.shape[2:] == (16, 16) and small.spec.image_size == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnist"}, "--dataset mnist"),
        ({"name": "digits", "split": "valid"}, "split valid.*train, test"),
        ({"name": "digits", "image_size": 4}, "--image_size 4: must be 8"),
        ({"name": "cifar10", "root": "x", "image_size": 64}, "--image_size 64: cifar10 has 32x32"),
        ({"name": "cifar10"}, "cifar10: say where it is with --data"),
        ({"name": "imagenet", "root": "x"}, "x is not a folder; expected FOLDER/train"),
        ({"name": "cifar10", "root": "/no/such"}, "cifar10.*/no/such.*cifar-10-batches-bin.*--download"),
        ({"name": "cifar100", "root": "/no/such"}, "/no/such.*cifar-100-python"),
        ({"name": "fashion_mnist", "root": "/no/such"}, "/no/such/train-images.*dataset-fashion-mnist.*--download"),
        ({"name": "folder", "root": "/no/such"}, "/no/such.*train/<class>"),
    ],
)
def test_load_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(**arguments)
    assert "\n" not in str(caught.value)


def test_image_set_checks_itself(photo_set: ImageSet) -> None:
    with pytest.raises(DdartsError, match="label 10 at image 3 is outside 0..9"):
        ImageSet(photo_set.images[:4], torch.tensor([0, 1, 2, 10]), photo_set.class_names, photo_set.spec)
    with pytest.raises(DdartsError, match="uint8"):
        ImageSet(photo_set.images.float(), photo_set.labels, photo_set.class_names, photo_set.spec)
    with pytest.raises(DdartsError, match="labels must be int64"):
        ImageSet(photo_set.images, photo_set.labels[1:], photo_set.class_names, photo_set.spec)
    part = photo_set.subset(torch.tensor([5, 2]))
    assert torch.equal(part.images, photo_set.images[[5, 2]]) and part.labels.tolist() == [5, 2]


def _write_idx(path: Path, values: np.ndarray, magic: bytes | None = None) -> None:
    header = (magic or bytes((0, 0, 8, values.ndim))) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def fashion(tmp_path: Path, photos: np.ndarray) -> tuple[Path, np.ndarray, np.ndarray]:
    """A small set in IDX files, training plain and test compressed; its training pixels and labels."""
    pixels, labels = photos[:30, 0, 2:30, 2:30], np.arange(30) % 10
    _write_idx(tmp_path / "train-images-idx3-ubyte", pixels)
    _write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    _write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", pixels[:10])
    _write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels[:10])
    return tmp_path, pixels, labels


def test_idx_files(fashion: tuple[Path, np.ndarray, np.ndarray]) -> None:
    root, pixels, labels = fashion
    train, test = load("fashion_mnist", root), load("fashion_mnist", root, "test")
    for channel in range(3):
        np.testing.assert_array_equal(train.images[:, channel, 2:30, 2:30], pixels)
    assert train.images.sum() == 3 * int(pixels.sum())  # the border is black
    np.testing.assert_array_equal(train.labels, labels)
    assert torch.equal(test.images, train.images[:10])


@pytest.mark.parametrize(
    ("name", "break_it", "message"),
    [
        ("train-images-idx3-ubyte", lambda path: path.write_bytes(path.read_bytes()[:-1]), "23520 bytes.*only 23519"),
        ("train-images-idx3-ubyte", lambda path: path.write_bytes(path.read_bytes() + b"\0"), "holds more"),
        ("train-images-idx3-ubyte", lambda path: path.write_bytes(path.read_bytes()[:9]), "ends within its header"),
        ("train-images-idx3-ubyte", lambda path: path.write_bytes(b""), "not an IDX file"),
        ("train-labels-idx1-ubyte", lambda path: _write_idx(path, np.zeros(30), b"\0\0\x08\x03"), "0x00000803"),
        ("train-labels-idx1-ubyte", lambda path: _write_idx(path, np.zeros(29)), "29 labels for the 30 images"),
        ("train-labels-idx1-ubyte", lambda path: _write_idx(path, np.full(30, 10)), "label 10 at image 0"),
        ("train-images-idx3-ubyte", lambda path: _write_idx(path, np.zeros((30, 27, 28))), "27x28"),
        ("t10k-images-idx3-ubyte.gz", lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read"),
        ("t10k-labels-idx1-ubyte.gz", lambda path: path.write_bytes(b"not gzip at all"), "cannot be read"),
    ],
)
def test_damaged_idx_files(fashion: tuple, name: str, break_it, message: str) -> None:
    path = fashion[0] / name
    break_it(path)
    with pytest.raises(DdartsError, match=message) as caught:
        load("fashion_mnist", fashion[0], "train" if name.startswith("train") else "test")
    assert name in str(caught.value)


def test_missing_idx_file(fashion: tuple) -> None:
    (fashion[0] / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(UsageError, match="train-labels-idx1-ubyte.*not found"):
        load("fashion_mnist", fashion[0])


def test_debian_package_of_fashion_mnist() -> None:
    """The whole set where the package is installed; otherwise the message that says how to install it."""
    if not FASHION.is_dir():
        with pytest.raises(UsageError, match="dataset-fashion-mnist"):
            load("fashion_mnist")
        return
    train, test = load("fashion_mnist"), load("fashion_mnist", split="test")
    assert train.labels.bincount().tolist() == [6000] * 10 and test.labels.bincount().tolist() == [1000] * 10
    mean, std = _statistics(train.images[:, 0])
    facts = SPECS["fashion_mnist"]
    assert mean == pytest.approx(facts.mean[0], abs=1e-5) and std == pytest.approx(facts.std[0], abs=1e-5)


def test_digits_larger_than_the_memory_are_refused_before_any_is_made(monkeypatch) -> None:
    monkeypatch.setattr("ddarts.data.memory.available_memory", lambda: 2 * 360 * 5 * 64 * 64)
    assert load("digits", split="test", image_size=64).images.shape == (360, 3, 64, 64)
    with pytest.raises(DdartsError, match=r"digits: 360 images of 65x65 need .* a smaller --image_size"):
        load("digits", split="test", image_size=65)
