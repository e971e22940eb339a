"""Data files with a pinned hash: a byte that flips after the download is noticed, and both hashes are named."""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ddarts.data import download
from ddarts.data.datasets import load
from ddarts.runtime.errors import DdartsError

PER_BATCH = 8


def _record(path: Path, photos: np.ndarray) -> Path:
    """A CIFAR-10 batch in the binary layout."""
    labels = np.arange(PER_BATCH, dtype=np.uint8)[:, None]
    path.write_bytes(np.concatenate([labels, photos[:PER_BATCH].reshape(PER_BATCH, -1)], axis=1).tobytes())
    return path


def _pin(path: Path) -> str:
    """Pin the file as it is; returns the hash."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{found}  {path.name}\n")
    return found


def _flip(path: Path, at: int) -> str:
    """Flip one bit; returns the hash of what is there now."""
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _idx(path: Path, values: np.ndarray) -> Path:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.write_bytes(header + values.tobytes())
    return path


@pytest.fixture
def batch(tmp_path: Path, photos: np.ndarray) -> Path:
    """The test batch of a folder in CIFAR-10's binary layout."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    return _record(folder / "test_batch.bin", photos)


def test_a_flipped_byte_of_a_pinned_file_is_noticed_and_both_hashes_are_named(
    tmp_path: Path, batch: Path, photos: np.ndarray
) -> None:
    archive = tmp_path / "packed" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(batch, "cifar-10-batches-bin/test_batch.bin")
    images = _idx(tmp_path / "t10k-images-idx3-ubyte", photos[:5, 0, :28, :28])
    _idx(tmp_path / "t10k-labels-idx1-ubyte", np.arange(5, dtype=np.uint8))
    for name, path, root, at in (
        ("cifar10", batch, tmp_path, 100),
        ("cifar10", archive, archive.parent, 4),  # the time in the header, which gzip does not check
        ("fashion_mnist", images, tmp_path, 500),
    ):
        right = _pin(path)
        assert len(load(name, root, "test")) > 0
        wrong = _flip(path, at)
        with pytest.raises(DdartsError, match=f"{path.name}: SHA-256 is {wrong}, {path.name}.sha256 says {right}"):
            load(name, root, "test")
        path.with_name(f"{path.name}.sha256").unlink()
        assert len(load(name, root, "test")) > 0  # nothing else can tell


def test_what_is_downloaded_is_pinned(tmp_path: Path, batch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(batch, "cifar-10-batches-bin/test_batch.bin")
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(download, "ARCHIVES", {"cifar10": (download.Archive(archive.as_uri(), right),)})
    assert len(load("cifar10", tmp_path / "data", "test", download=True)) == PER_BATCH
    _flip(tmp_path / "data" / archive.name, 4)
    with pytest.raises(DdartsError, match=right):
        load("cifar10", tmp_path / "data", "test", download=True)


@pytest.mark.parametrize("text", ["", "0123", "g" * 64, "\0" * 9000])
def test_a_pin_that_is_no_hash_is_named(batch: Path, text: str) -> None:
    batch.with_name("test_batch.bin.sha256").write_text(text)
    with pytest.raises(DdartsError, match=r"test_batch\.bin\.sha256: does not begin with a SHA-256"):
        load("cifar10", batch.parent, "test")
