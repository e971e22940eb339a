"""Genotype files: strict reading, byte-stable writing.

A file is JSON of the form that `schema` describes, or the published program's text form (see `published`). What
is read is checked completely before it is used: types, keys, version, size, nesting and then the wiring.
"""

import json
import os
import re
from os.path import isfile
from pathlib import Path
from typing import Any, NoReturn

from ddarts.genotype.schema import MAX_CELLS, Cell, Gene, Genotype, check
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.files import atomic_write_bytes, sync_folder, temporary_beside, write_synced

FORMAT = "ddarts-genotype"
VERSION = 1
MAX_BYTES = 4 * 2**20
MAX_DEPTH = 4  # object, cells, cell, gene
MAX_NAME = 200
MAX_INT = 10**6

_REQUIRED = ("format", "version", "name", "space", "steps", "concat", "reductions", "cells")
_KEYS = (*_REQUIRED, "sequence")
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def read(path: str | os.PathLike[str], buildable: bool = True) -> Genotype:
    """The checked genotype in the file `path`: JSON, or the published text form; `buildable` as in `schema.check`.

    UsageError where there is no such file; DdartsError, naming file, cell and node, where its content is refused.
    """
    path = Path(path)
    text = _text(path)
    if text.lstrip().startswith("{"):
        return from_dict(_loads(text, str(path)), str(path), buildable)
    if path.suffix.lower() == ".json":
        raise DdartsError(f"{path}: is not a genotype: a JSON object starting with '{{' is expected")
    from ddarts.genotype.published import from_text

    return from_text(text, path.stem, str(path), buildable)


def write(genotype: Genotype, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Check `genotype` and write it to `path` as JSON, whole or not at all; the folder is created.

    UsageError where the file exists and `overwrite` is False, or where the name does not end in .json.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise UsageError(f"{path}: a genotype is written as JSON: choose a name that ends in .json")
    text = to_json(check(genotype, f"genotype '{genotype.name}'"))
    try:
        _folder(path.parent)
        if overwrite:
            atomic_write_bytes(path, text.encode())
        else:
            _write_new(path, text.encode())
    except FileExistsError:
        raise UsageError(f"{path}: exists already: choose another name or remove it first") from None
    except OSError as error:
        raise DdartsError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def to_dict(genotype: Genotype) -> dict[str, Any]:
    """`genotype` as plain lists, strings and numbers, in the order of the file's keys."""
    data: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": genotype.name,
        "space": genotype.space,
        "steps": genotype.steps,
        "concat": list(genotype.concat),
        "reductions": list(genotype.reductions),
    }
    if genotype.sequence is not None:
        data["sequence"] = list(genotype.sequence)
    data["cells"] = [[list(gene) for gene in cell] for cell in genotype.cells]
    return data


def to_json(genotype: Genotype) -> str:
    """The file's text: the description on one line, then one cell a line."""
    data = to_dict(genotype)
    cells = ",\n".join("  " + _dumps(cell) for cell in data.pop("cells"))
    return f'{_dumps(data)[:-1]},\n "cells": [\n{cells}\n ]}}\n'


def from_dict(data: Any, where: str, buildable: bool = True) -> Genotype:
    """The genotype that `data` (parsed JSON) describes; DdartsError names `where`, cell and node.

    `buildable` as in `schema.check`.
    """
    if not isinstance(data, dict):
        _refuse(where, f"is not a genotype: an object with the keys {', '.join(_REQUIRED)} is expected")
    _check_header(data, where)
    cells = data["cells"]
    if not isinstance(cells, list):
        _refuse(where, f"cells is {shown(cells)}: it must be a list of cells")
    sequence = data.get("sequence")
    genotype = Genotype(
        name=data["name"],
        space=data["space"],
        steps=_integer(data["steps"], "steps", where),
        concat=_integers(data["concat"], "concat", where),
        reductions=_integers(data["reductions"], "reductions", where),
        cells=tuple(_cell(cell, f"{where}: cell {index}") for index, cell in enumerate(cells)),
        sequence=None if sequence is None else _integers(sequence, "sequence", where),
    )
    return check(genotype, where, buildable)


def shown(value: Any) -> str:
    """`value` as it may stand in a one-line message: its repr, cut to 40 characters."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."


def _refuse(where: str, message: str) -> NoReturn:
    raise DdartsError(f"{where}: {message}")


def _text(path: Path) -> str:
    """The file's text; its size is bounded before it is read."""
    if not isfile(path):
        raise UsageError(f"{path}: no such genotype file")
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            _refuse(str(path), f"is larger than {MAX_BYTES // 2**20} MiB: that is not a genotype")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise DdartsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DdartsError(f"{path}: is not a text file (byte {error.start} is not UTF-8)") from error


def _loads(text: str, where: str) -> Any:
    """Parsed JSON without duplicate keys, NaN or nesting deeper than a genotype needs."""
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(text):
        token = match.group()
        depth += (token in "[{") - (token in "]}")
        if depth > MAX_DEPTH:
            _refuse(where, f"nested more than {MAX_DEPTH} levels deep: that is not a genotype")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) != len(items):
            _refuse(where, "a key stands twice in it")
        return dict(items)

    def constant(name: str) -> NoReturn:
        _refuse(where, f"holds {name}: genotypes hold whole numbers")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise DdartsError(f"{where}: is not valid JSON: {error.msg}, line {error.lineno}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits
        raise DdartsError(f"{where}: is not valid JSON: a value is out of bounds") from error


def _check_header(data: dict[str, Any], where: str) -> None:
    """Format, version, the set of keys, name and space."""
    if data.get("format") != FORMAT:
        _refuse(where, f"format is {shown(data.get('format'))}: '{FORMAT}' is expected")
    version = data.get("version")
    if type(version) is not int or version != VERSION:
        _refuse(where, f"version is {shown(version)}: this program reads version {VERSION}")
    for key in data:
        if key not in _KEYS:
            _refuse(where, f"unknown key {shown(key)}: allowed are {', '.join(_KEYS)}")
    for key in _REQUIRED:
        if key not in data:
            _refuse(where, f"the key '{key}' is missing")
    for key in ("name", "space"):
        value = data[key]
        if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= MAX_NAME:
            _refuse(where, f"{key} is {shown(value)}: a printable text of 1 to {MAX_NAME} characters is expected")


def _cell(data: Any, where: str) -> Cell:
    if not isinstance(data, list):
        _refuse(where, f"is {shown(data)}: it must be a list of genes")
    return tuple(_gene(gene, position, where) for position, gene in enumerate(data))


def _gene(data: Any, position: int, where: str) -> Gene:
    if not isinstance(data, list) or len(data) != 3:
        _refuse(where, f"gene {position} is {shown(data)}: [operation, to, from] is expected")
    op, to, source = data
    to = _integer(to, f"the node of gene {position}", where)
    if not isinstance(op, str) or not op.isidentifier() or len(op) > 40:
        _refuse(where, f"node {to}: the operation of gene {position} is {shown(op)}: a name is expected")
    return Gene(op, to, _integer(source, f"node {to}: the source of gene {position}", where))


def _integer(value: Any, what: str, where: str) -> int:
    if type(value) is not int or abs(value) > MAX_INT:
        _refuse(where, f"{what} is {shown(value)}: a whole number is expected")
    return value


def _integers(values: Any, what: str, where: str) -> tuple[int, ...]:
    if not isinstance(values, list):
        _refuse(where, f"{what} is {shown(values)}: a list of whole numbers is expected")
    if len(values) > MAX_CELLS:
        _refuse(where, f"{what} has {len(values)} numbers: at most {MAX_CELLS} are allowed")
    return tuple(_integer(value, f"{what}[{index}]", where) for index, value in enumerate(values))


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _folder(path: Path) -> None:
    """Create the folder; where a file stands in its way, that is a fault and not a file that exists already."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(error.errno, f"{path} is a file") from error


def _write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet. A link fails where the name is taken, so no race writes over anything."""
    if path.exists():
        raise FileExistsError
    temporary = temporary_beside(path)
    try:
        write_synced(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # no hard links on this file system
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
