"""CIFAR-10 and CIFAR-100 from the standard archives, binary or Python version, extracted or still in their .tar.gz.

Binary: records of one label byte (CIFAR-100: coarse, then fine), then 3 x 32 x 32 bytes, planes R, G, B, rows from the
top. Python: pickled dictionaries with the same pixels; see `unpickle`. CIFAR-100 uses the fine labels.
"""

import logging
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddarts.data.cifar_names import CIFAR10, CIFAR100
from ddarts.data.images import ImageSet, check_labels, one_line
from ddarts.data.pinned import check_pinned
from ddarts.data.specs import DataSpec
from ddarts.data.unpickle import unpickle_batch
from ddarts.runtime.errors import DdartsError

_log = logging.getLogger(__name__)

PIXELS = 3 * 32 * 32
STANDARD_COUNT = {"train": 50_000, "test": 10_000}
# A member of the archives has 153 MB at most: a larger one is not what it claims to be
_MEMBER_LIMIT = 2**30


@dataclass(frozen=True)
class Layout:
    """One version of one archive: its name, the folder in it, and the files of each split."""

    archive: str
    folder: str
    pickled: bool
    files: dict[str, tuple[str, ...]]

    @property
    def all_files(self) -> tuple[str, ...]:
        """Training files, then test files."""
        return self.files["train"] + self.files["test"]


@dataclass(frozen=True)
class Source:
    """Where a data set was found: a folder with the files, or an archive."""

    path: Path
    layout: Layout


def _batches(suffix: str) -> dict[str, tuple[str, ...]]:
    return {
        "train": tuple(f"data_batch_{number}{suffix}" for number in range(1, 6)),
        "test": (f"test_batch{suffix}",),
    }


LAYOUTS = {
    "cifar10": (
        Layout("cifar-10-binary.tar.gz", "cifar-10-batches-bin", False, _batches(".bin")),
        Layout("cifar-10-python.tar.gz", "cifar-10-batches-py", True, _batches("")),
    ),
    "cifar100": (
        Layout("cifar-100-binary.tar.gz", "cifar-100-binary", False, {"train": ("train.bin",), "test": ("test.bin",)}),
        Layout("cifar-100-python.tar.gz", "cifar-100-python", True, {"train": ("train",), "test": ("test",)}),
    ),
}
_CLASS_NAMES = {"cifar10": CIFAR10, "cifar100": CIFAR100}
_LABEL_KEY = {"cifar10": "labels", "cifar100": "fine_labels"}


def known_places(name: str) -> list[str]:
    """What may lie in the root: the folders' and the archives' names."""
    return [layout.folder + "/" for layout in LAYOUTS[name]] + [layout.archive for layout in LAYOUTS[name]]


def find_source(name: str, root: Path) -> Source | None:
    """The first of: an extracted folder in `root`, `root` itself as that folder, an archive in `root`; else None."""
    for layout in LAYOUTS[name]:
        if (root / layout.folder).is_dir():
            return Source(root / layout.folder, layout)
    for layout in LAYOUTS[name]:
        if any((root / file).is_file() for file in layout.all_files):
            return Source(root, layout)
    for layout in LAYOUTS[name]:
        if (root / layout.archive).is_file():
            return Source(root / layout.archive, layout)
    return None


def load_cifar(spec: DataSpec, source: Source, split: str) -> ImageSet:
    """One split as uint8 [N, 3, 32, 32].

    Raises:
        DdartsError: a file is missing, damaged, of the wrong size, or holds a wrong label; the message names it.
    """
    names = source.layout.files[split]
    contents = _read_archive(source, names) if source.path.is_file() else _read_folder(source, names)
    class_names = _CLASS_NAMES[spec.name]
    pixels: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for where, content in contents.items():
        if source.layout.pickled:
            some_pixels, some_labels = unpickle_batch(content, where, _LABEL_KEY[spec.name], PIXELS)
        else:
            some_pixels, some_labels = _parse_binary(content, where, label_bytes=1 if spec.name == "cifar10" else 2)
        check_labels(some_labels, len(class_names), where)
        if pixels and len(some_pixels) != len(pixels[0]):
            others = f"but {len(pixels[0])} in {next(iter(contents))}"
            raise DdartsError(f"{where}: {len(some_pixels)} images, {others}; one of the two is cut")
        pixels.append(some_pixels)
        labels.append(some_labels)
    total = sum(map(len, labels))
    if total != STANDARD_COUNT[split]:
        standard = STANDARD_COUNT[split]
        _log.warning("%s: %d %s images, the standard set has %d", source.path, total, split, standard)
    images = torch.from_numpy(np.concatenate(pixels).reshape(-1, 3, 32, 32))
    return ImageSet(images, torch.from_numpy(np.concatenate(labels)), class_names, spec)


def _parse_binary(content: bytes, where: str, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    record = label_bytes + PIXELS
    if len(content) == 0 or len(content) % record:
        raise DdartsError(f"{where}: {len(content)} bytes are not a whole number of records of {record} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    return records[:, label_bytes:], records[:, label_bytes - 1].astype(np.int64)


def _read_folder(source: Source, names: tuple[str, ...]) -> dict[str, bytes]:
    contents = {}
    for name in names:
        path = source.path / name
        check_pinned(path)
        try:
            contents[str(path)] = path.read_bytes()
        except FileNotFoundError:
            raise DdartsError(f"{path}: missing; {source.layout.archive} has {', '.join(names)}") from None
        except OSError as error:
            raise DdartsError(f"{path}: cannot be read ({error.strerror})") from error
    return contents


def _read_archive(source: Source, names: tuple[str, ...]) -> dict[str, bytes]:
    """The named members, in that order; nothing is extracted to disk."""
    wanted = {f"{source.layout.folder}/{name}": name for name in names}
    found: dict[str, bytes] = {}
    check_pinned(source.path)
    try:
        with tarfile.open(source.path, "r:gz") as archive:
            for member in archive:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None or not member.isfile():
                    continue
                if member.size > _MEMBER_LIMIT:
                    raise DdartsError(f"{source.path}: {member.name} has {member.size} bytes, too many for CIFAR")
                stream = archive.extractfile(member)
                found[name] = stream.read() if stream else b""
                if len(found) == len(names):
                    break
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DdartsError(f"{source.path}: damaged archive ({one_line(error)}); fetch it again") from error
    for member_name, name in wanted.items():
        if name not in found:
            raise DdartsError(f"{source.path}: {member_name} is missing in it")
    return {f"{source.path}:{name}": found[name] for name in names}
