"""The zoo: every architecture that has a name, and how a name or a path becomes a genotype.

The folder `zoo` beside this file holds one genotype file a name; a file dropped into it is available by its name.
`zoo_aliases.json` adds the article's names (DD-4, DO-ResNet50 …) where a published genotype is that network, and short
names (DD-cifar10). An alias stands for the whole architecture: DD-4 has its 14 cells.
"""

import difflib
import fnmatch
import json
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from os.path import isdir, isfile
from pathlib import Path

from ddarts.genotype import files
from ddarts.genotype.deepen import deepen
from ddarts.genotype.schema import Genotype, check
from ddarts.runtime.errors import DdartsError, UsageError

BASELINE = "baseline_"
SUFFIXES = (".json", ".txt")


@dataclass(frozen=True)
class Alias:
    """A further name of an architecture of the zoo, with what the article reports of it.

    `layers` and `init_channels` belong to the named network (None: the genotype's own layers, no channels said);
    `top1` is in per cent; `macs` and `params` are as printed in the article; `note` says what of it holds here.
    """

    name: str
    genotype: str
    layers: int | None
    init_channels: int | None
    dataset: str | None
    top1: float | None
    macs: str | None
    params: str | None
    note: str


@dataclass(frozen=True)
class ZooEntry:
    """One line of `ddarts archs`. `problem` says why no network can be built of the genotype, else it is None."""

    name: str
    space: str
    cells: int
    steps: int
    source: str
    alias_of: str | None = None
    problem: str | None = None


def resolve(name_or_path: str, buildable: bool = True) -> Genotype:
    """The genotype called so: a zoo name, an alias, a path (.json, .txt), or a run folder with a genotype.json.

    UsageError where there is none, with the closest names; DdartsError where the file is refused. `buildable` as in
    `schema.check`: False also gives a genotype that can be compared but not built.
    """
    name = str(name_or_path)
    if name in aliases():
        return _aliased(aliases()[name], buildable)
    if name in _files():
        return _read(_files()[name], buildable)
    return files.read(_file_of(name), buildable)


def _file_of(name: str) -> Path:
    """The genotype file that `name` is the path of, or the folder of. UsageError where there is none."""
    path = Path(name)
    inside = path / "genotype.json"
    if name and isdir(name):
        if isfile(inside):
            return inside
        raise UsageError(
            f"{path}: this folder has no genotype.json; a run folder, or the path of a genotype, is expected"
        )
    if path.suffix.lower() in SUFFIXES:
        return path
    if isfile(name):
        raise UsageError(f"{path}: not a genotype: the name of one ends in {' or '.join(SUFFIXES)}")
    if "/" in name or "\\" in name:
        return path
    raise UsageError(_unknown(name))


def baseline(name: str, folder: str | None = None) -> Genotype:
    """The handcrafted architecture `name`, with or without its prefix (ResNet18, baseline_ResNet18), from the user's
    `folder` where a file there is called so, else from the zoo.

    UsageError lists the baselines there are; DdartsError names a file that is refused.
    """
    there = {called: file for called, file in _files().items() if called.startswith(BASELINE)}
    if folder is not None:
        there |= _files(_own(folder))
    found = next((there[called] for called in (name, BASELINE + name) if called in there), None)
    if found is None:
        known = ", ".join(sorted(called.removeprefix(BASELINE) for called in there))
        hint = "" if folder else " (--baselines FOLDER adds genotype files of your own)"
        raise UsageError(f"--arch_baseline {files.shown(name)}: use one of {known}{hint}")
    return _read(found, buildable=True)


def _own(folder: str) -> Path:
    if not isdir(folder):
        raise UsageError(f"--baselines {folder}: no such folder")
    return Path(folder)


def entries(pattern: str | None = None) -> list[ZooEntry]:
    """Everything in the zoo by name, aliases first; `pattern` is a part of the name or a shell pattern (any case)."""
    found = [_alias_entry(alias) for alias in aliases().values() if _matches(alias.name, pattern)]
    return found + [_file_entry(name) for name in sorted(_files(), key=str.lower) if _matches(name, pattern)]


@cache
def aliases() -> dict[str, Alias]:
    """The aliases by name."""
    return {name: Alias(name, **fields) for name, fields in _package_json("zoo_aliases.json").items()}


def alias(name: str) -> Alias | None:
    """What is known of `name` beyond its genotype (layers, channels, published figures), if it is an alias."""
    return aliases().get(name)


def _files(folder: Traversable | None = None) -> dict[str, Traversable]:
    """Genotype files by name, of the zoo or of a `folder`. Read anew each time: a file may be dropped in."""
    folder = resources.files(__package__) / "zoo" if folder is None else folder
    found = [file for file in folder.iterdir() if file.name.lower().endswith(SUFFIXES)]
    return {file.name.rpartition(".")[0]: file for file in found}


def _read(file: Traversable, buildable: bool) -> Genotype:
    with resources.as_file(file) as path:
        return files.read(path, buildable)


def _aliased(alias: Alias, buildable: bool) -> Genotype:
    genotype = _read(_files()[alias.genotype], buildable)
    return replace(deepen(genotype, alias.layers or genotype.layers), name=alias.name)


def _alias_entry(alias: Alias) -> ZooEntry:
    genotype = _aliased(alias, buildable=False)
    source = f"{_source(alias.genotype)}; {alias.note}"
    return ZooEntry(alias.name, genotype.space, genotype.layers, genotype.steps, source, alias.genotype)


def _file_entry(name: str) -> ZooEntry:
    try:
        genotype = _read(_files()[name], buildable=False)
    except DdartsError as error:  # a file dropped in must not hide the others
        return ZooEntry(name, "?", 0, 0, _source(name), problem=str(error))
    try:
        check(genotype, name)
        problem = None
    except DdartsError as error:
        problem = str(error).removeprefix(f"{name}: ")
    return ZooEntry(name, genotype.space, genotype.layers, genotype.steps, _source(name), problem=problem)


def _source(name: str) -> str:
    return _package_json("zoo_sources.json").get(name, "added to the zoo folder")


@cache
def _package_json(file: str) -> dict:
    return json.loads((resources.files(__package__) / file).read_text(encoding="utf-8"))


def _matches(name: str, pattern: str | None) -> bool:
    if not pattern:
        return True
    name, pattern = name.lower(), pattern.lower()
    return fnmatch.fnmatchcase(name, pattern) if set(pattern) & set("*?[") else pattern in name


def _unknown(name: str) -> str:
    known = {known.lower(): known for known in (*aliases(), *_files())}
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(known[match] for match in close)}? " if close else ""
    return f"unknown architecture {files.shown(name)}: {hint}'ddarts archs' lists all; the path of a genotype works too"
