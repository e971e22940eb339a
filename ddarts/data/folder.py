"""Images in class folders: as files, or decoded once and held in memory.

Either root/train/<class>/* and root/test/<class>/* (or root/val), or root/<class>/*, of which a fixed fifth of every
class is for testing. Names that start with a dot are ignored; every other file in a class folder must be an image.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from ddarts.data.decode import thumbnail
from ddarts.data.draws import generator
from ddarts.data.images import FileSet, ImageSet
from ddarts.data.memory import check_memory
from ddarts.data.specs import DataSpec
from ddarts.runtime.errors import DdartsError, UsageError

TEST_FRACTION = 0.2
_LAYOUT = "expected FOLDER/train/<class>/* and FOLDER/test/<class>/* (or val), or FOLDER/<class>/*"


def load_folder(spec: DataSpec, root: Path, split: str, memory_limit: int | None = None) -> ImageSet:
    """Class folders as uint8 [N, 3, size, size]: shorter side resized to `spec.image_size`, then centre crop.

    Args:
        spec: its `image_size` is used; the result's spec has the number of classes found.
        root: the folder.
        split: "train" or "test".
        memory_limit: bytes that the images may take; None is half of the memory that is free.

    Raises:
        UsageError: `root` is not laid out as described.
        DdartsError: class folders that do not match, an empty one, a file that is not an image, too little memory.
    """
    files = list_folder(spec, root, split)
    size = spec.image_size
    check_memory(str(root), len(files), size, memory_limit)
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for slot, pixels in zip(images, pool.map(lambda path: thumbnail(path, size), files.paths), strict=True):
            slot.copy_(torch.from_numpy(pixels).permute(2, 0, 1))
    return ImageSet(images, files.labels, files.class_names, files.spec)


def list_folder(spec: DataSpec, root: Path, split: str) -> FileSet:
    """The same files without reading any of them; raises as `load_folder` does where a name tells of a fault."""
    classes, files = _list_images(root, split)
    paths = [str(path) for name in classes for path in files[name]]
    labels = torch.tensor([label for label, name in enumerate(classes) for _ in files[name]], dtype=torch.int64)
    return FileSet(paths, labels, tuple(classes), replace(spec, num_classes=len(classes)))


def _list_images(root: Path, split: str) -> tuple[list[str], dict[str, list[Path]]]:
    """Class names in order, and each class's files of this split."""
    if not root.is_dir():
        raise UsageError(f"folder: {root} is not a folder; {_LAYOUT}")
    train = root / "train"
    if not train.is_dir() or any(path.is_file() for path in _visible(train)):
        return _split_classes(root, split)
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    classes = _class_names(train)
    if test is not None:
        _compare_classes(train, classes, test)
    if split == "train":
        return classes, {name: _class_files(train / name) for name in classes}
    if test is None:
        raise UsageError(f"folder: {root} has neither test nor val beside train; {_LAYOUT}")
    return classes, {name: _class_files(test / name) for name in classes}


def _split_classes(root: Path, split: str) -> tuple[list[str], dict[str, list[Path]]]:
    """One set of class folders, split 80/20 within each class by a fixed seed."""
    classes, files = _class_names(root), {}
    for label, name in enumerate(classes):
        members = _class_files(root / name)
        if len(members) < 2:
            raise DdartsError(f"{root / name}: one image cannot be split in training and test")
        order = generator(0, "folder", label).permutation(len(members))
        count = max(1, round(TEST_FRACTION * len(members)))
        chosen = order[:count] if split == "test" else order[count:]
        files[name] = [members[index] for index in sorted(chosen)]
    return classes, files


def _visible(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))


def _class_names(path: Path) -> list[str]:
    names = [entry.name for entry in _visible(path) if entry.is_dir()]
    if len(names) < 2:
        raise UsageError(f"folder: {path} has {len(names)} class folder(s), at least 2 are needed; {_LAYOUT}")
    return names


def _class_files(path: Path) -> list[Path]:
    files = _visible(path)
    if not files:
        raise DdartsError(f"{path}: the class folder is empty")
    return files


def _compare_classes(train: Path, classes: list[str], test: Path) -> None:
    found = {entry.name for entry in _visible(test) if entry.is_dir()}
    missing, extra = sorted(set(classes) - found), sorted(found - set(classes))
    if missing or extra:
        parts = [f"{word} {', '.join(names)}" for word, names in (("missing", missing), ("extra", extra)) if names]
        raise DdartsError(f"{test}: its class folders differ from those of {train}: {'; '.join(parts)}")
