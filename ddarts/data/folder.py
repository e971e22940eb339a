"""Images in class folders: as files, or decoded once and held in memory.

Either root/train/<class>/* and root/test/<class>/* (or root/val, of ImageNet the first choice), or, but for ImageNet,
root/<class>/*, of which a fixed fifth of every class is for testing. Which class has which label says a pinned list
(see `classes`); only a `folder` without one takes them in alphabetical order, which runs and weights remember
(`census`). Names that start with a dot are ignored; every other file in a class folder must be an image.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ddarts.data import bad_files
from ddarts.data.classes import CLASS_LIST, compare, find_list, read_list
from ddarts.data.decode import thumbnail
from ddarts.data.draws import generator
from ddarts.data.images import FileSet, ImageSet
from ddarts.data.memory import check_memory
from ddarts.data.specs import DataSpec
from ddarts.runtime.errors import DdartsError, UsageError

TEST_FRACTION = 0.2
_SPLIT_LAYOUT = "FOLDER/train/<class>/* and FOLDER/test/<class>/* (or val)"


@dataclass(frozen=True)
class Layout:
    """Where the class folders are."""

    train: Path
    test: Path | None  # None: there is none
    divided: bool  # `train` is the root itself, and a fifth of each class in it is for testing

    @property
    def has_test(self) -> bool:
        """Whether there are test images."""
        return self.divided or self.test is not None

    @property
    def folders(self) -> list[Path]:
        """The folders that hold class folders."""
        return [self.train, *([self.test] if self.test else [])]


def load_folder(files: FileSet, root: Path, memory_limit: int | None = None) -> ImageSet:
    """The files decoded, as uint8 [N, 3, size, size]: shorter side resized to `spec.image_size`, then centre crop.

    Args:
        files: what `list_folder` found.
        root: the folder, for messages.
        memory_limit: bytes that the images may take; None is half of the memory that is free.

    Raises:
        DdartsError: a file that is not an image, too little memory.
    """
    size = files.spec.image_size
    check_memory(str(root), len(files), size, memory_limit)
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for slot, pixels in zip(images, pool.map(lambda path: thumbnail(path, size), files.paths), strict=True):
            slot.copy_(torch.from_numpy(pixels).permute(2, 0, 1))
    return ImageSet(images, files.labels, files.class_names, files.spec)


def list_folder(
    spec: DataSpec,
    root: Path,
    split: str,
    class_list: str | Path | None = None,
    skip_bad_files: str | Path | None = None,
) -> FileSet:
    """The files of one split with their labels; none of them is read.

    Args:
        spec: the result's spec is this one with the number of classes found.
        root: the folder.
        split: "train" or "test".
        class_list: see `datasets.load`.
        skip_bad_files: likewise.

    Raises:
        UsageError: `root` is not laid out as described, or ImageNet has no pinned list.
        DdartsError: class folders that do not match the list or each other, one without images that may be used.
    """
    layout = find_layout(spec, root)
    classes = class_names(spec, root, layout, class_list)
    files = _divided(layout.train, split, classes) if layout.divided else _files(layout, root, split, classes)
    if skip_bad_files is not None:
        everything = [path for name in classes for path in files[name]]
        bad = bad_files.left_out(everything, root, skip_bad_files, f"{split} images of {spec.name}")
        files = {name: [path for path in files[name] if path not in bad] for name in classes}
        _check_left(files, f"{root}: all {split} images")
    paths = [path for name in classes for path in files[name]]
    labels = torch.tensor([label for label, name in enumerate(classes) for _ in files[name]], dtype=torch.int64)
    return FileSet(paths, labels, tuple(classes), replace(spec, num_classes=len(classes)))


def find_layout(spec: DataSpec, root: Path) -> Layout:
    """Where the class folders are. UsageError where there are none."""
    if not root.is_dir():
        raise UsageError(f"{spec.name}: {root} is not a folder; {_expected(spec)}")
    train = root / "train"
    imagenet = spec.name == "imagenet"
    if train.is_dir() and not any(entry.is_file() for entry in visible(train)):
        others = ("val", "test") if imagenet else ("test", "val")  # ImageNet's own test images have no labels
        return Layout(train, next((root / name for name in others if (root / name).is_dir()), None), False)
    if imagenet:
        raise UsageError(f"imagenet: {root} has no folder train with class folders in it; {_expected(spec)}")
    return Layout(root, None, True)


def class_names(spec: DataSpec, root: Path, layout: Layout, given: str | Path | None = None) -> Sequence[str]:
    """The class folders in the order of their labels, after a comparison with those that are there."""
    found = subfolders(layout.train)
    pinned = find_list(root, given)
    if pinned is None and spec.name == "imagenet":
        raise UsageError(
            f"imagenet: {root / CLASS_LIST} is missing, which says which folder has which label: write it once with "
            f"ddarts data prepare imagenet --data {root}, or give your own with --class_list FILE"
        )
    if len(found) < 2:
        where = f"{spec.name}: {layout.train} has {len(found)} class folder(s)"
        raise UsageError(f"{where}, at least 2 are needed; {_expected(spec)}")
    names = found if pinned is None else read_list(pinned)
    for folder in layout.folders:
        compare(folder, subfolders(folder), names, str(layout.train if pinned is None else pinned))
    return names


def visible(path: Path) -> list[os.DirEntry]:
    """What is in a folder, sorted by name, without what starts with a dot."""
    with os.scandir(path) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def subfolders(path: Path) -> list[str]:
    """Names of the folders in a folder, sorted."""
    return [entry.name for entry in visible(path) if entry.is_dir()]


def class_files(path: Path) -> list[str]:
    """The files of one class, in order. DdartsError where there are none."""
    files = [entry.path for entry in visible(path)]
    if not files:
        raise DdartsError(f"{path}: the class folder is empty")
    return files


def _files(layout: Layout, root: Path, split: str, classes: Sequence[str]) -> dict[str, list[str]]:
    folder = layout.train if split == "train" else layout.test
    if folder is None:
        raise UsageError(f"{root}: has neither test nor val beside train; expected {_SPLIT_LAYOUT}")
    return {name: class_files(folder / name) for name in classes}


def _divided(root: Path, split: str, classes: Sequence[str]) -> dict[str, list[str]]:
    """One set of class folders, split 80/20 within each class by a fixed seed."""
    files = {}
    for label, name in enumerate(classes):
        members = class_files(root / name)
        if len(members) < 2:
            raise DdartsError(f"{root / name}: one image cannot be split in training and test")
        order = generator(0, "folder", label).permutation(len(members))
        count = max(1, round(TEST_FRACTION * len(members)))
        chosen = order[:count] if split == "test" else order[count:]
        files[name] = [members[index] for index in sorted(chosen)]
    return files


def _check_left(files: Mapping[str, Sequence[str]], what: str) -> None:
    for name, some in files.items():
        if not some:
            raise DdartsError(f"{what} of class {name} are bad, and left out: put a good one there")


def _expected(spec: DataSpec) -> str:
    return f"expected {_SPLIT_LAYOUT}{'' if spec.name == 'imagenet' else ', or FOLDER/<class>/*'}"
