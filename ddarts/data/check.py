"""`ddarts data check`: what a data set holds, and what is wrong with it."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from ddarts.data import bad_files, decode
from ddarts.data.classes import find_list
from ddarts.data.folder import class_names, find_layout, subfolders, visible
from ddarts.data.images import Images, ImageSet
from ddarts.data.specs import DataSpec
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.progress import Progress

_LINES = 1000  # files between two lines of progress where there is no terminal
_AT_ONCE = 4096  # files handed to the threads: each that waits for its turn takes 2 KiB


@dataclass(frozen=True)
class Finding:
    """One file: its path below the root, the hash of its bytes (empty where they cannot be read), why it cannot be
    used, and what is odd about it."""

    path: str
    sha256: str
    problem: str = ""
    remark: str = ""


def check_set(facts: DataSpec, root: str | None, sets: Mapping[str, Images]) -> dict[str, Any]:
    """A set that was read into memory: its counts, and the hashes of its pixels."""
    splits = {}
    for split, images in sets.items():
        assert isinstance(images, ImageSet)
        counts = images.labels.bincount(minlength=images.num_classes).tolist()
        digest = hashlib.sha256(images.images.contiguous().numpy().tobytes())
        digest.update(images.labels.numpy().tobytes())
        splits[split] = _split(dict(zip(images.class_names, counts, strict=True)), digest.hexdigest())
    return {"dataset": facts.name, "root": root, "splits": splits, "problems": [], "bad": [], "odd": []}


def check_folders(
    facts: DataSpec, root: Path, class_list: str | None, output: str | None, workers: int
) -> dict[str, Any]:
    """Class folders: every file is hashed and decoded, in threads, and the bad ones are listed in a file."""
    layout = find_layout(facts, root)
    listed = Path(output).expanduser() if output else root / bad_files.BAD_FILES
    bad_files.check_writable(listed)
    problems = []
    try:
        class_names(facts, root, layout, class_list)
    except DdartsError as error:
        problems.append(str(error))
    pinned, splits, bad, odd = find_list(root, class_list), {}, [], []
    for folder in layout.folders:
        files = {name: [entry.path for entry in visible(folder / name)] for name in subfolders(folder)}
        problems += [f"{folder / name}: the class folder is empty" for name, some in files.items() if not some]
        found = _inspect_all([path for some in files.values() for path in some], root, folder.name, workers)
        counts = Counter(Path(item.path).parent.name for item in found if not item.problem)
        listing = "".join(f"{item.sha256}  {item.path}\n" for item in found)
        digest = hashlib.sha256(listing.encode()).hexdigest()
        splits["all" if layout.divided else folder.name] = _split({name: counts[name] for name in files}, digest)
        bad += [item for item in found if item.problem]
        odd += [item for item in found if item.remark]
    bad_entries = [{"path": item.path, "problem": item.problem, "sha256": item.sha256} for item in bad]
    bad_files.write(listed, bad_entries)
    return {
        "dataset": facts.name,
        "root": str(root),
        "class_list": None if pinned is None else str(pinned),
        "splits": splits,
        "problems": problems,
        "bad": bad_entries,
        "odd": [{"path": item.path, "remark": item.remark} for item in odd],
        "bad_list": str(listed),
    }


def _split(counts: Mapping[str, int], digest: str) -> dict[str, Any]:
    return {
        "images": sum(counts.values()),
        "classes": len(counts),
        "smallest_class": min(counts.values(), default=0),
        "largest_class": max(counts.values(), default=0),
        "class_counts": dict(counts),
        "sha256": digest,
    }


def _inspect_all(paths: list[str], root: Path, what: str, workers: int) -> list[Finding]:
    with (
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
        Progress(len(paths), f"check {what}", report_freq=_LINES) as progress,
    ):
        parts = (paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE))
        findings = chain.from_iterable(pool.map(partial(inspect, root=root), part) for part in parts)
        return list(_counted(findings, progress))


def _counted(findings: Iterable[Finding], progress: Progress) -> Iterable[Finding]:
    bad = 0
    for finding in findings:
        bad += bool(finding.problem)
        progress.advance(bad=bad)
        yield finding


def inspect(path: str, root: Path) -> Finding:
    """Read, hash and decode one file."""
    name = Path(path).relative_to(root).as_posix()
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return Finding(name, "", problem=f"cannot be read ({error.strerror})")
    digest = hashlib.sha256(content).hexdigest()
    try:
        decode.check(path, content)
    except DdartsError as error:
        return Finding(name, digest, problem=str(error).removeprefix(f"{path}: "))
    return Finding(name, digest, remark=_remark(content, Path(path).suffix.lower()))


def _remark(content: bytes, suffix: str) -> str:
    """What is unusual about an image that can be read, or an empty text."""
    with Image.open(io.BytesIO(content)) as image:
        expected = Image.registered_extensions().get(suffix)
        parts = [f"a {image.format} file named {suffix or 'without an ending'}"] if image.format != expected else []
        return ", ".join([*parts, *(["CMYK"] if image.mode == "CMYK" else [])])
