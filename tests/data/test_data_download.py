"""Downloading: only when asked, only what has the right hash."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from ddarts.data import download
from ddarts.data.datasets import load
from ddarts.runtime.errors import DdartsError, UsageError

NAMES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: np.ndarray) -> Path:
    """A folder that plays the server, with a small Fashion-MNIST training set."""
    folder = tmp_path / "server"
    folder.mkdir()
    arrays = (photos[:10, 0, :28, :28], np.arange(10, dtype=np.uint8))
    archives = []
    for name, values in zip(NAMES, arrays, strict=True):
        header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
        content = gzip.compress(header + values.tobytes())
        (folder / name).write_bytes(content)
        archives.append(download.Archive((folder / name).as_uri(), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(download, "ARCHIVES", {"fashion_mnist": tuple(archives)})
    return folder


def test_nothing_is_fetched_without_being_asked(server: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--download"):
        load("fashion_mnist", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_fetch_then_read_then_no_second_fetch(server: Path, tmp_path: Path) -> None:
    assert len(load("fashion_mnist", tmp_path / "data", download=True)) == 10
    assert sorted(path.name for path in (tmp_path / "data").glob("*.gz")) == sorted(NAMES)
    for name in NAMES:
        (server / name).unlink()
    assert len(load("fashion_mnist", tmp_path / "data", download=True)) == 10


def test_wrong_hash_names_both_and_keeps_nothing(server: Path, tmp_path: Path) -> None:
    path = server / NAMES[0]
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    wrong = hashlib.sha256(content).hexdigest()
    with pytest.raises(DdartsError, match=f"{NAMES[0]}.*{wrong}.*{right}"):
        load("fashion_mnist", tmp_path / "data", download=True)
    assert list((tmp_path / "data").iterdir()) == []


def test_unreachable_server(server: Path, tmp_path: Path) -> None:
    (server / NAMES[1]).unlink()
    with pytest.raises(DdartsError, match=f"{NAMES[1]}: download to .* failed"):
        load("fashion_mnist", tmp_path / "data", download=True)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [NAMES[0], f"{NAMES[0]}.sha256"]


def test_folder_that_cannot_be_made(server: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DdartsError, match="cannot be created.*--data"):
        load("fashion_mnist", tmp_path / "file" / "data", download=True)


def test_nothing_to_download_for_other_sets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to download for folder"):
        download.fetch("folder", tmp_path)


def test_addresses_are_encrypted_and_hashes_complete() -> None:
    for archives in download.ARCHIVES.values():
        for archive in archives:
            assert archive.url.startswith("https://") and len(bytes.fromhex(archive.sha256)) == 32
