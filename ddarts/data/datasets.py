"""From a name and a folder to an `ImageSet`; nothing is downloaded unless asked for."""

from dataclasses import replace
from pathlib import Path

from ddarts.data.images import ImageSet
from ddarts.data.specs import DataSpec, spec
from ddarts.runtime.errors import UsageError

__all__ = ["ImageSet", "load"]

SPLITS = ("train", "test")


def load(
    name: str,
    root: str | Path | None = None,
    split: str = "train",
    download: bool = False,
    image_size: int | None = None,
) -> ImageSet:
    """Read one split of a data set into memory.

    Args:
        name: data set, a key of `specs.SPECS`.
        root: folder that holds it (`--data`); None is the data set's default folder. Digits need none.
        split: "train" or "test".
        download: fetch the public archive into `root` if it is not there.
        image_size: side of the images; only `digits` and `folder` can be had in another size than their spec's.

    Raises:
        UsageError: an unknown name, split or size, or data that are not where they should be.
        DdartsError: data that are there and damaged; the message names the file.
    """
    facts = spec(name)
    if split not in SPLITS:
        raise UsageError(f"split {split}: unknown, choose one of {', '.join(SPLITS)}")
    facts = _sized(facts, image_size)
    if name == "imagenet":
        raise UsageError(
            "--dataset imagenet: the ImageNet loader is not part of this version; "
            "images in class folders that fit in memory can be read with --dataset folder --image_size 224"
        )
    if name == "digits":
        from ddarts.data.digits import load_digits

        return load_digits(facts, split)
    folder = _folder(facts, root)
    if name == "folder":
        from ddarts.data.folder import load_folder

        return load_folder(facts, folder, split)
    if name == "fashion_mnist":
        return _fashion_mnist(facts, folder, split, download)
    return _cifar(facts, folder, split, download)


def _sized(facts: DataSpec, image_size: int | None) -> DataSpec:
    if image_size is None or image_size == facts.image_size:
        return facts
    if facts.name not in ("digits", "folder"):
        raise UsageError(
            f"--image_size {image_size}: {facts.name} has {facts.image_size}x{facts.image_size} images only"
        )
    if image_size < 8:
        raise UsageError(f"--image_size {image_size}: must be 8 or more")
    return replace(facts, image_size=image_size)


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
