"""CIFAR in both versions, extracted and in archives, whole and damaged; pickles that try to do something."""

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ddarts.data.cifar import LAYOUTS, Layout
from ddarts.data.cifar_names import CIFAR10, CIFAR100
from ddarts.data.datasets import load
from ddarts.data.unpickle import unpickle_batch
from ddarts.runtime.errors import DdartsError

PER_BATCH = 8


def _python2_batch(pixels: np.ndarray, labels: list[int], key: str) -> bytes:
    """The bytes that Python 2 wrote for the real batches: protocol 2, byte strings, numpy.core.multiarray."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"K" + bytes([value])

    def long(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    shape = long(pixels.shape[0]) + long(pixels.shape[1]) + b"\x86"
    array += b"(" + number(1) + shape + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    values = b"](" + b"".join(map(number, labels)) + b"e"
    name = text(b"batch_label") + text(b"training batch 1 of 5")
    return b"\x80\x02}(" + name + text(key.encode()) + values + text(b"data") + array + b"u."


def _python3_batch(pixels: np.ndarray, labels: list[int], key: str) -> bytes:
    return pickle.dumps({b"data": pixels, key.encode(): labels, b"filenames": [b"a.png"]}, protocol=2)


def _binary_batch(pixels: np.ndarray, labels: list[int], key: str) -> bytes:
    numbers = np.array(labels, np.uint8)[:, None]
    columns = [numbers, pixels] if key == "labels" else [numbers // 5, numbers, pixels]
    return np.concatenate(columns, axis=1).tobytes()


Writer = Callable[[np.ndarray, list[int], str], bytes]


def _write(root: Path, name: str, layout: Layout, photos: np.ndarray, writer: Writer) -> tuple[np.ndarray, np.ndarray]:
    """A small set in the folder of `layout`; its training pixels and labels."""
    folder = root / layout.folder
    folder.mkdir(parents=True)
    key = "labels" if name == "cifar10" else "fine_labels"
    classes = 10 if name == "cifar10" else 100
    for number, file in enumerate(layout.all_files):
        part = slice(number * PER_BATCH, (number + 1) * PER_BATCH)
        labels = [(7 * index) % classes for index in range(part.start, part.stop)]
        (folder / file).write_bytes(writer(photos[part].reshape(PER_BATCH, -1), labels, key))
    count = PER_BATCH * len(layout.files["train"])
    return photos[:count], np.array([(7 * index) % classes for index in range(count)])


CASES = [
    pytest.param("cifar10", 0, _binary_batch, id="cifar10-binary"),
    pytest.param("cifar10", 1, _python2_batch, id="cifar10-python2"),
    pytest.param("cifar10", 1, _python3_batch, id="cifar10-python3"),
    pytest.param("cifar100", 0, _binary_batch, id="cifar100-binary"),
    pytest.param("cifar100", 1, _python2_batch, id="cifar100-python2"),
    pytest.param("cifar100", 1, _python3_batch, id="cifar100-python3"),
]


@pytest.mark.parametrize("place", ["folder", "inside", "archive"])
@pytest.mark.parametrize(("name", "version", "writer"), CASES)
def test_layouts(tmp_path: Path, photos: np.ndarray, name: str, version: int, writer: Writer, place: str) -> None:
    layout = LAYOUTS[name][version]
    pixels, labels = _write(tmp_path / "made", name, layout, photos, writer)
    root = tmp_path / "made"
    if place == "inside":
        root = root / layout.folder
    if place == "archive":
        root = tmp_path / "archives"
        root.mkdir()
        with tarfile.open(root / layout.archive, "w:gz") as archive:
            archive.add(tmp_path / "made" / layout.folder, layout.folder)
    train, test = load(name, root), load(name, root, "test")
    np.testing.assert_array_equal(train.images, pixels)
    np.testing.assert_array_equal(train.labels, labels)
    np.testing.assert_array_equal(test.images, photos[len(pixels) : len(pixels) + PER_BATCH])
    assert train.class_names == (CIFAR10 if name == "cifar10" else CIFAR100)
    assert sorted(path.name for path in root.iterdir()) == sorted(os.listdir(root))  # nothing unpacked beside it
    assert place != "archive" or os.listdir(root) == [layout.archive]


def test_class_names() -> None:
    assert len(CIFAR10) == 10 and len(CIFAR100) == 100 and list(CIFAR100) == sorted(set(CIFAR100))


@pytest.fixture
def binary(tmp_path: Path, photos: np.ndarray) -> Path:
    _write(tmp_path, "cifar10", LAYOUTS["cifar10"][0], photos, _binary_batch)
    return tmp_path / "cifar-10-batches-bin"


@pytest.fixture
def python(tmp_path: Path, photos: np.ndarray) -> Path:
    _write(tmp_path, "cifar10", LAYOUTS["cifar10"][1], photos, _python3_batch)
    return tmp_path / "cifar-10-batches-py"


def _refusal(folder: Path, name: str = "cifar10", split: str = "train") -> str:
    with pytest.raises(DdartsError) as caught:
        load(name, folder.parent, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_truncated_binary(binary: Path) -> None:
    path = binary / "data_batch_3.bin"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "data_batch_3.bin: 24583 bytes are not a whole number of records" in _refusal(binary)
    path.write_bytes(content[:-3073])  # cut between two images
    assert "data_batch_3.bin: 7 images, but 8 in" in _refusal(binary)
    path.write_bytes(b"")
    assert "data_batch_3.bin: 0 bytes" in _refusal(binary)


def test_missing_batch(binary: Path) -> None:
    (binary / "data_batch_5.bin").unlink()
    assert "data_batch_5.bin: missing" in _refusal(binary)
    assert len(load("cifar10", binary.parent, "test")) == PER_BATCH


def test_label_out_of_range_in_binary(binary: Path) -> None:
    path = binary / "data_batch_2.bin"
    content = bytearray(path.read_bytes())
    content[3073] = 10
    path.write_bytes(content)
    assert "data_batch_2.bin: label 10 at image 1 is outside 0..9" in _refusal(binary)


def test_small_set_is_mentioned(binary: Path, caplog: pytest.LogCaptureFixture) -> None:
    load("cifar10", binary.parent)
    assert "40 train images, the standard set has 50000" in caplog.text


@pytest.mark.parametrize("label", [-1, 10])
def test_label_out_of_range_in_pickle(python: Path, photos: np.ndarray, label: int) -> None:
    batch = _python3_batch(photos[:PER_BATCH].reshape(PER_BATCH, -1), [0] * 7 + [label], "labels")
    (python / "data_batch_1").write_bytes(batch)
    assert f"data_batch_1: label {label} at image 7 is outside 0..9" in _refusal(python)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"data": np.zeros((8, 3071), np.uint8)}, "'data' must be uint8"),
        ({b"data": np.zeros((8, 3072), np.float32)}, "'data' must be uint8"),
        ({b"data": b"bytes"}, "'data' must be uint8"),
        ({b"labels": [0] * 7}, "7 labels for 8 images"),
        ({b"labels": [0.5] * 8}, "whole numbers"),
        ({b"labels": [2**80] * 8}, "whole numbers"),
        ({b"labels": None}, "whole numbers"),
    ],
)
def test_pickle_with_wrong_content(python: Path, photos: np.ndarray, change: dict, message: str) -> None:
    batch = {b"data": photos[:8].reshape(8, -1), b"labels": [0] * 8, **change}
    (python / "data_batch_4").write_bytes(pickle.dumps(batch, protocol=2))
    refusal = _refusal(python)
    assert message in refusal and "data_batch_4" in refusal


def test_truncated_pickle_at_every_tenth_byte(photos: np.ndarray) -> None:
    content = _python2_batch(photos[:2].reshape(2, -1), [1, 2], "labels")
    for length in [*range(0, 300, 10), len(content) - 1]:
        with pytest.raises(DdartsError, match="some/file"):
            unpickle_batch(content[:length], "some/file", "labels", 3072)


class _Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_pickle_runs_nothing(python: Path, tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    attacks = {
        "posix.system|nt.system": _Call(os.system, f"touch {canary}"),
        "eval": _Call(eval, f"open({str(canary)!r}, 'w')"),
        "getattr": _Call(getattr, _Call(__import__, "os"), "system"),
        "open": _Call(open, str(canary), "w"),
    }
    for names, attack in attacks.items():
        content = pickle.dumps({b"data": attack, b"labels": [0]}, protocol=protocol)
        (python / "data_batch_1").write_bytes(content)
        refusal = _refusal(python)
        assert "data_batch_1: refused" in refusal and any(name in refusal for name in names.split("|"))
        assert not canary.exists()
    pickle.Unpickler(io.BytesIO(content)).load()  # the last attack is real where nothing stops it
    assert canary.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cnumpy\nload\n(S'x'\ntR.", "refused.*numpy.load"),
        (b"c_codecs\ndecode\n.", "refused.*_codecs.decode"),
        # uninitialised memory, by either road
        (b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I64\ntS'b'\ntR.", "refused.*unusual arguments"),
        (b"cnumpy\nndarray\n(I64\ntR.", "not a readable.*not callable"),
        (b"c_codecs\nencode\n(Vx\nVrot13\ntR.", "refused.*encode to rot13"),
        (b"c_codecs\nencode\n}V__doc__\nVx\nsb.", "not a readable"),  # sets an attribute on what it named
    ],
)
def test_uses_of_allowed_names_that_no_batch_needs(content: bytes, message: str) -> None:
    with pytest.raises(DdartsError, match=f"f: {message}"):
        unpickle_batch(content, "f", "labels", 3072)


def test_damaged_archives(tmp_path: Path, binary: Path) -> None:
    root = tmp_path / "archives"
    root.mkdir()
    path = root / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(binary, binary.name)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"not an archive", b""):
        path.write_bytes(damaged)
        with pytest.raises(DdartsError, match="cifar-10-binary.tar.gz: damaged archive"):
            load("cifar10", root)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(binary / "data_batch_1.bin", binary.name + "/data_batch_1.bin")
    with pytest.raises(DdartsError, match="cifar-10-batches-bin/data_batch_2.bin is missing"):
        load("cifar10", root)


def test_link_in_archive_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(3074))
    with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("cifar-100-binary/test.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    with pytest.raises(DdartsError, match="test.bin is missing"):
        load("cifar100", tmp_path, "test")


def test_loaded_images_can_be_written(binary: Path) -> None:
    images = load("cifar10", binary.parent).images
    images[0] = 0
    assert torch.count_nonzero(images[0]) == 0
