"""The pinned list of classes: which folder has which label, whatever folders happen to be there.

A text file with the name of a class folder on each line, in the order of the labels. Lines that are empty or start with
# count for nothing; after a WordNet identifier (n01440764) other words may follow, as in ImageNet's own lists.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.rundir import atomic_write_text

CLASS_LIST = "classes.txt"
_MAX_BYTES = 16 << 20
_WORDNET = re.compile(r"(n\d{8})(\s.*)?")


def find_list(root: Path, given: str | Path | None) -> Path | None:
    """The list to go by: the one that is given, or the one in the data set's folder, if there is one."""
    if given is not None:
        return Path(given).expanduser()
    return root / CLASS_LIST if (root / CLASS_LIST).is_file() else None


def read_list(path: Path) -> tuple[str, ...]:
    """The names in their order.

    Raises:
        UsageError: no such file.
        DdartsError: not a list of at least two different names; the message names the line.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--class_list {path}: cannot be read ({error.strerror})") from None
    if len(content) > _MAX_BYTES:
        raise DdartsError(f"{path}: is larger than {_MAX_BYTES >> 20} MiB, which no list of classes is")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise DdartsError(f"{path}: is not a text file") from None
    seen: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        found = _WORDNET.fullmatch(line)
        name = found[1] if found else line
        if "/" in name or name in (".", ".."):
            raise DdartsError(f"{path}, line {number}: {name} is not the name of a folder")
        if name in seen:
            raise DdartsError(f"{path}, line {number}: {name} is there already, on line {seen[name]}")
        seen[name] = number
    if len(seen) < 2:
        raise DdartsError(f"{path}: lists {len(seen)} class(es), at least 2 are needed")
    return tuple(seen)


def write_list(path: Path, names: Sequence[str]) -> None:
    """Write the names in this order, in one step. Raises DdartsError."""
    head = "# class folders in the order of the labels; written once by ddarts data prepare, and then not to be changed"
    atomic_write_text(path, "\n".join([head, *names, ""]))


def compare(folder: Path, found: Sequence[str], names: Sequence[str], source: str) -> None:
    """DdartsError where the class folders `found` in `folder` are not exactly those that `source` names."""
    missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    parts = [f"{word} {_few(some)}" for word, some in (("missing", missing), ("extra", extra)) if some]
    if parts:
        raise DdartsError(f"{folder}: its class folders differ from those of {source}: {'; '.join(parts)}")


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
