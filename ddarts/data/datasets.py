"""From a name and a folder to a set of images; nothing is downloaded unless asked for."""

from pathlib import Path
from typing import Any

from ddarts.data.images import FileSet, Images, ImageSet
from ddarts.data.specs import DataSpec, sized, spec
from ddarts.runtime.errors import UsageError

__all__ = ["FileSet", "ImageSet", "Images", "asked_for", "load"]

SPLITS = ("train", "test")


def asked_for(options: Any, split: str, image_size: int | None = None) -> Images:
    """The split that a command's options (`config.common.DataOptions`) name; `image_size` where they name none."""
    return load(
        options.dataset or "",
        options.data,
        split,
        options.download,
        options.image_size or image_size,
        val_resize=options.val_resize,
        class_list=options.class_list,
        skip_bad_files=options.skip_bad_files,
    )


def load(
    name: str,
    root: str | Path | None = None,
    split: str = "train",
    download: bool = False,
    image_size: int | None = None,
    *,
    val_resize: int | None = None,
    class_list: str | Path | None = None,
    skip_bad_files: str | Path | None = None,
) -> Images:
    """Read one split of a data set: into memory, or, of photographs, the names of its files.

    Args:
        name: data set, a key of `specs.SPECS`.
        root: folder that holds it (`--data`); None is the data set's default folder. Digits need none.
        split: "train" or "test".
        download: fetch the public archive into `root` if it is not there.
        image_size: side of the images; only digits and class folders can be had in another size than their spec's.
        val_resize: what the shorter side of a photograph is resized to for evaluation; None is 8/7 of `image_size`.
        class_list: file with the class folders' names in the order of the labels; None is `classes.txt` in `root`.
        skip_bad_files: list that `ddarts data check` wrote of files to leave out; "auto" is the one in `root`.

    Raises:
        UsageError: an unknown name, split or size, or data that are not where they should be.
        DdartsError: data that are there and damaged; the message names the file.
    """
    facts = spec(name)
    if split not in SPLITS:
        raise UsageError(f"split {split}: unknown, choose one of {', '.join(SPLITS)}")
    facts = sized(facts, image_size, val_resize)
    if name == "digits":
        from ddarts.data.digits import load_digits

        return load_digits(facts, split)
    folder = _folder(facts, root)
    if name in ("folder", "imagenet"):
        from ddarts.data.folder import list_folder, load_folder

        files = list_folder(facts, folder, split, class_list, skip_bad_files)
        return files if facts.photographs else load_folder(files, folder)
    if name == "fashion_mnist":
        return _fashion_mnist(facts, folder, split, download)
    return _cifar(facts, folder, split, download)


def _folder(facts: DataSpec, root: str | Path | None) -> Path:
    if root is None and facts.default_root is None:
        raise UsageError(f"--dataset {facts.name}: say where it is with --data FOLDER")
    return Path(root if root is not None else facts.default_root or "").expanduser()


def _fashion_mnist(facts: DataSpec, root: Path, split: str, download: bool) -> ImageSet:
    from ddarts.data import idx

    missing = idx.missing_files(root, split)
    if missing and download:
        from ddarts.data.download import fetch

        fetch("fashion_mnist", root)
        missing = idx.missing_files(root, split)
    if missing:
        raise UsageError(
            f"fashion_mnist: {root / missing[0]}[.gz] not found; install Debian's package dataset-fashion-mnist, "
            "give --data FOLDER with the four IDX files, or allow --download"
        )
    return idx.load_fashion_mnist(facts, root, split)


def _cifar(facts: DataSpec, root: Path, split: str, download: bool) -> ImageSet:
    from ddarts.data import cifar

    source = cifar.find_source(facts.name, root)
    if source is None and download:
        from ddarts.data.download import fetch

        fetch(facts.name, root)
        source = cifar.find_source(facts.name, root)
    if source is None:
        raise UsageError(
            f"{facts.name}: nothing found in {root}; put {' or '.join(cifar.known_places(facts.name))} there, "
            "or allow --download"
        )
    return cifar.load_cifar(facts, source, split)
