"""`ddarts distance`: what it prints, writes and refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ddarts.cli import main
from ddarts.genotype import files, zoo
from ddarts.genotype.op_weights import published_weights

PAIR = ["baseline_ResNet18", "baseline_ResNet50"]


def run(capsys: Any, *words: str) -> dict[str, Any]:
    assert main(["distance", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_distance(capsys: Any) -> None:
    assert run(capsys, *PAIR) == {"distance": 0.08362996966788812, "cells": [0.08362996966788812]}


def test_cells_without_a_partner_are_mentioned(capsys: Any) -> None:
    assert main(["distance", *PAIR]) == 0
    assert "2 of 3 cells of ResNet50 have no partner and are left out (--strict" in capsys.readouterr().err
    assert main(["distance", *PAIR, "--strict"]) == 0
    out, err = capsys.readouterr()
    assert "2 of 3 cells of ResNet50 have no partner and count as distance 1" in err
    assert [line.count("█") for line in out.splitlines()[3:]] == [2, 32, 32]
    assert main(["distance", "DD-4", "DD-4"]) == 0
    assert "partner" not in capsys.readouterr().err


def test_the_cells_are_drawn_and_their_values_written_beside(capsys: Any, tmp_path: Path) -> None:
    for form, begins in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        path = tmp_path / "new" / f"{form}.{form}"
        found = run(capsys, "DD-4", "DD-cifar10", "--output", str(path))
        assert found["files"] == [str(path), str(path.with_suffix(".csv"))]
        assert path.read_bytes().startswith(begins)
        with open(path.with_suffix(".csv"), newline="") as file:
            head, *rows, mean = csv.reader(file)
        assert head == ["cell", "distance"] and mean == ["mean", str(found["distance"])]
        assert rows == [[str(i), str(value)] for i, value in enumerate(found["cells"])]


def test_a_drawing_has_the_same_bytes_twice(capsys: Any, tmp_path: Path) -> None:
    paths = [tmp_path / "1.svg", tmp_path / "2.svg"]
    for path in paths:
        run(capsys, "--matrix", *PAIR, "DD-4", "--output", str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_matrix_of_names_patterns_and_files(capsys: Any, tmp_path: Path) -> None:
    mine, path = tmp_path / "mine.json", tmp_path / "all.json"
    files.write(zoo.resolve("DO-ResNet18"), mine)
    found = run(capsys, "--matrix", "baseline_Res*", str(mine), "baseline_ResNet18", "--output", str(path))
    assert found["names"] == [*PAIR, str(mine)]
    matrix = found["distances"]
    assert matrix[0][1] == matrix[1][0] == 0.08362996966788812 and [matrix[i][i] for i in range(3)] == [0, 0, 0]
    assert matrix[0][2] == run(capsys, "DO-ResNet18", "baseline_ResNet18")["distance"]
    assert json.loads(path.read_text()) == {"names": found["names"], "distances": matrix}
    assert main(["distance", "--matrix", *PAIR]) == 0
    assert "0.084" in capsys.readouterr().out


def test_a_matrix_as_a_heat_map_and_as_a_table(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.PNG"
    found = run(capsys, "--matrix", "*", "--strict", "--output", str(path))
    assert len(found["names"]) == 20 and path.read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "all.csv", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["", *found["names"]] and [row[0] for row in rows] == found["names"]
    assert [[float(value) for value in row[1:]] for row in rows] == found["distances"]


def test_own_weights_count(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_text(json.dumps(published_weights()))
    assert run(capsys, *PAIR, "--op_weights", str(path))["distance"] == 0.08362996966788812
    path.write_text(json.dumps({**published_weights(), "bottleneck_1x3x1": 10_000}))
    assert run(capsys, *PAIR, "--op_weights", str(path))["distance"] > 0.9


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("A", "SECOND is missing: give the name of an architecture"),
        ("", "FIRST is missing"),
        ("DD-4 --matrix DD-4 DD-cifar10", "DD-4: give two architectures or --matrix, not both"),
        ("--matrix DD-4 DD-4", "--matrix DD-4: give at least two architectures"),
        ("--matrix nothing*", "--matrix nothing*: matches no architecture"),
        ("--matrix DD-4 DD-44", "unknown architecture 'DD-44'"),
        ("DD-4 DD-4 --output x.pdf", "--output x.pdf: its name must end in .png, .svg, .csv, .json"),
        ("DD-4 DD-4 --output .", "--output .: its name must end in"),
        ("DD-4 DD-4 --output old.csv", "--output old.csv: is there already; choose another name"),
        ("DD-4 DD-4 --output old.png", "--output old.csv: is there already; choose another name"),
        ("DD-4 DD-4 --output old.csv/x.png", "--output old.csv/x.png: old.csv is a file, not a folder"),
        ("DD-4 DD-4 --op_weights no.json", "--op_weights no.json: cannot be read"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.csv").write_text("old")
    assert main(["distance", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"ddarts: error: {says}") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
