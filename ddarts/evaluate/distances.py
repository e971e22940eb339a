"""The command `ddarts distance`: two architectures cell by cell, or every pair of many; as numbers and as pictures."""

import csv
import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ddarts.config import DistanceConfig, validate
from ddarts.evaluate.output import check_free, write
from ddarts.genotype import zoo
from ddarts.genotype.distance import distance as between
from ddarts.genotype.distance import distances
from ddarts.genotype.op_weights import read_weights
from ddarts.genotype.schema import Genotype
from ddarts.runtime.errors import UsageError

PICTURES = ("png", "svg")
Table = Sequence[Sequence[Any]]

_log = logging.getLogger(__name__)


def distance(config: DistanceConfig) -> dict[str, Any]:
    """Of two architectures {"distance", "cells"}, of many {"names", "distances"}; with --output also {"files"}.

    Architectures that no network can be built of are compared too. UsageError on unknown names, wrong weights and
    files that are there; DdartsError on genotypes that are refused and files that cannot be written.
    """
    config = validate(config)
    paths = _paths(config.output)
    weights = read_weights(config.op_weights) if config.op_weights else None
    if config.matrix:
        names = _named(config.matrix)
        matrix = distances([_genotype(name) for name in names], config.strict, weights)
        result: dict[str, Any] = {"names": names, "distances": matrix}
        table: Table = [["", *names], *([name, *row] for name, row in zip(names, matrix, strict=True))]
    else:
        first, second = _genotype(str(config.first)), _genotype(str(config.second))
        _say_partners(first, second, config.strict)
        result = asdict(between(first, second, config.strict, weights))
        table = [["cell", "distance"], *enumerate(result["cells"]), ["mean", result["distance"]]]
    for path in paths:
        write(path, _content(path.suffix[1:].lower(), result, table, config))
    return {**result, "files": [str(path) for path in paths]} if paths else result


def _genotype(name: str) -> Genotype:
    return zoo.resolve(name, buildable=False)


def _named(names: Iterable[str]) -> list[str]:
    """`names` without repetitions; one with * or ? stands for the architectures of the zoo that it matches, each by its
    own name."""
    found: dict[str, None] = {}
    for name in names:
        matching = [name]
        if set(name) & set("*?"):
            matching = [entry.name for entry in zoo.entries(name) if not entry.alias_of]
            if not matching:
                raise UsageError(f"--matrix {name}: matches no architecture; 'ddarts archs' lists all")
        found.update(dict.fromkeys(matching))
    if len(found) < 2:
        raise UsageError(f"--matrix {','.join(found)}: give at least two architectures")
    return list(found)


def _say_partners(first: Genotype, second: Genotype, strict: bool) -> None:
    """Cells without a partner are easily forgotten: the published distance does not see them."""
    short, long = sorted((first, second), key=lambda genotype: len(genotype.cells))
    alone = len(long.cells) - len(short.cells)
    if alone:
        how = "count as distance 1" if strict else "are left out (--strict counts them as distance 1)"
        _log.info("%d of %d cells of %s have no partner and %s", alone, len(long.cells), long.name, how)


def _paths(output: str | None) -> list[Path]:
    """The files to write: the one asked for and, where it is a picture, the values beside it."""
    if not output:
        return []
    path = Path(output)
    paths = [path, path.with_suffix(".csv")] if path.suffix[1:].lower() in PICTURES else [path]
    for each in paths:
        check_free(each)
    return paths


def _content(form: str, result: dict[str, Any], table: Table, config: DistanceConfig) -> bytes:
    if form == "json":
        return (json.dumps(result, indent=1) + "\n").encode()
    if form == "csv":
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(table)
        return text.getvalue().encode()
    from ddarts.evaluate.distance_plots import cell_bars, heat_map

    if config.matrix:
        return heat_map(result["names"], result["distances"], form, config.strict)
    return cell_bars(f"{config.first} and {config.second}", result["cells"], result["distance"], form)
