"""Genotype files: byte-stable round trips, and refusal of everything that is not a genotype."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ddarts.genotype import files, zoo
from ddarts.genotype.schema import Gene, Genotype, check, live_genes, nodes
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space.primitives import OPERATIONS

ZOO = sorted((Path(files.__file__).parent / "zoo").glob("*.json"))
QUICK = settings(max_examples=60, deadline=None, database=None)


@st.composite
def genotypes(draw):
    """Genotypes that can be built: in every cell the nodes form a chain, with further genes anywhere."""
    steps = draw(st.integers(1, 6))
    operations = st.sampled_from(OPERATIONS)
    cells = []
    for _ in range(draw(st.integers(1, 6))):
        genes = [Gene(draw(operations), node, draw(st.integers(0, node - 1))) for node in range(2, steps + 2)]
        more = st.integers(2, steps + 1).flatmap(
            lambda to: st.builds(Gene, operations, st.just(to), st.integers(0, to - 1))
        )
        genes += [gene for gene in draw(st.lists(more, max_size=6, unique=True)) if gene not in genes]
        cells.append(tuple(draw(st.permutations(genes))))
    sequence = draw(st.none() | st.lists(st.integers(0, len(cells) - 1), min_size=1, max_size=9).map(tuple))
    layers = len(sequence or cells)
    return Genotype(
        name=draw(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)),
        space=draw(st.sampled_from(("ddarts", "dartopti"))),
        steps=steps,
        concat=tuple(range(draw(st.integers(2, steps + 1)), steps + 2)),
        reductions=tuple(sorted(draw(st.sets(st.integers(0, layers - 1), max_size=3)))),
        cells=tuple(cells),
        sequence=sequence,
    )


@pytest.fixture
def data():
    return files.to_dict(zoo.resolve("D-DARTS_threshold_sparse_cifar10_0.85_50"))


def refused(data, *parts):
    with pytest.raises(DdartsError) as caught:
        files.from_dict(data, "some.json")
    message = str(caught.value)
    assert message.startswith("some.json: ") and "\n" not in message and len(message) < 400, message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_published_files_are_reproduced_byte_for_byte(path):
    genotype = files.read(path, buildable=False)
    assert files.to_json(genotype).encode() == path.read_bytes()
    assert genotype.name == path.stem.removeprefix("baseline_")
    assert all(len(gene) == 3 for cell in genotype.cells for gene in cell)


def test_one_published_file_makes_no_network():
    """Cell 12 of this published file hangs on node 2, which has no operation; it can be compared, never built."""
    broken = [path.stem for path in ZOO if not _builds(path)]
    assert broken == ["Xception_cifar100_threshold_edge_0.85"]
    with pytest.raises(DdartsError, match="cell 12: node 3: all its edges come from nodes without operations"):
        files.read(ZOO[[path.stem for path in ZOO].index(broken[0])])


def _builds(path):
    try:
        return bool(files.read(path))
    except DdartsError:
        return False


@QUICK
@given(genotypes())
def test_round_trip(genotype):
    text = files.to_json(check(genotype, "drawn"))
    assert files.from_dict(json.loads(text), "text") == genotype
    assert files.to_json(files.from_dict(json.loads(text), "text")) == text


def test_write_then_read(tmp_path, data):
    genotype = files.from_dict(data, "data")
    path = files.write(genotype, tmp_path / "new" / "found.json")
    assert files.read(path) == genotype
    assert os.listdir(path.parent) == ["found.json"]
    with pytest.raises(UsageError, match=r"found\.json: exists already"):
        files.write(dataclasses.replace(genotype, name="other"), path)
    assert files.read(path) == genotype
    files.write(dataclasses.replace(genotype, name="other"), path, overwrite=True)
    assert files.read(path).name == "other"
    assert os.listdir(path.parent) == ["found.json"]


def test_a_file_that_appears_meanwhile_is_not_written_over(tmp_path, data, monkeypatch):
    path = tmp_path / "found.json"
    path.write_text("precious")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    with pytest.raises(UsageError, match="exists already"):
        files.write(files.from_dict(data, "data"), path)
    assert path.read_text() == "precious" and os.listdir(tmp_path) == ["found.json"]


def test_write_refuses_what_cannot_be_read_back(tmp_path, data):
    genotype = files.from_dict(data, "data")
    with pytest.raises(UsageError, match="ends in .json"):
        files.write(genotype, tmp_path / "found.txt")
    with pytest.raises(DdartsError, match="cell 0: is empty"):
        files.write(dataclasses.replace(genotype, cells=((), *genotype.cells[1:])), tmp_path / "found.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(DdartsError, match="cannot be written: .* is a file"):
        files.write(genotype, tmp_path / "file" / "found.json")
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_a_full_disk_leaves_the_old_file(tmp_path, data, monkeypatch):
    genotype = files.from_dict(data, "data")
    path = files.write(genotype, tmp_path / "found.json")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DdartsError, match="No space left"):
        files.write(dataclasses.replace(genotype, name="other"), path, overwrite=True)
    with pytest.raises(DdartsError, match="No space left"):
        files.write(genotype, tmp_path / "second.json")
    monkeypatch.undo()
    assert files.read(path) == genotype
    assert os.listdir(tmp_path) == ["found.json"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda d: d["cells"][3].__setitem__(0, ["warp_9x9", 2, 0]), ("cell 3", "node 2", "warp_9x9", "sep_conv_3x3")),
        (lambda d: d["cells"][3].__setitem__(2, ["skip_connect", 3, 4]), ("cell 3", "node 3", "state 4")),
        (lambda d: d["cells"][3].__setitem__(2, ["skip_connect", 3, 3]), ("cell 3", "node 3", "state 3")),
        (lambda d: d["cells"][3].__setitem__(2, ["skip_connect", 3, -1]), ("cell 3", "node 3", "state -1")),
        (lambda d: d["cells"][5].__setitem__(2, ["skip_connect", 6, 0]), ("cell 5", "node 6 does not exist")),
        (lambda d: d["cells"][5].__setitem__(2, ["skip_connect", 1, 0]), ("cell 5", "node 1 does not exist")),
        (lambda d: d["cells"][4].clear(), ("cell 4", "empty")),
        (lambda d: d["cells"].clear(), ("0 cells",)),
        (lambda d: d["cells"].__setitem__(1, [["skip_connect", 3, 2]]), ("cell 1", "node 3", "without operations")),
        (lambda d: d["cells"][7].append(d["cells"][7][0]), ("cell 7", "node 2", "listed twice")),
        (lambda d: d["cells"].__setitem__(2, "sep_conv_3x3"), ("cell 2", "'sep_conv_3x3'", "list of genes")),
        (lambda d: d["cells"][2].__setitem__(1, ["sep_conv_3x3", 2]), ("cell 2", "gene 1")),
        (lambda d: d["cells"][2].__setitem__(1, ["sep_conv_3x3", 2, "0"]), ("cell 2", "node 2", "'0'")),
        (lambda d: d["cells"][2].__setitem__(1, ["sep_conv_3x3", 2, True]), ("cell 2", "node 2", "True")),
        (lambda d: d["cells"][2].__setitem__(1, [["x"], 2, 0]), ("cell 2", "node 2", "operation")),
        (lambda d: d["cells"][2].__setitem__(1, ["a\nb" * 999, 2, 0]), ("cell 2", "node 2", "operation")),
        (lambda d: d.update(cells={}), ("cells",)),
        (lambda d: d.update(concat=[3, 2, 4, 5]), ("concat", "[3, 2, 4, 5]")),
        (lambda d: d.update(concat=[2, 3, 4]), ("concat",)),
        (lambda d: d.update(concat=[1, 2, 3, 4, 5]), ("concat",)),
        (lambda d: d.update(concat=[]), ("concat",)),
        (lambda d: d.update(concat="2345"), ("concat", "'2345'")),
        (lambda d: d.update(reductions=[2, 8]), ("reductions", "[2, 8]", "below 8")),
        (lambda d: d.update(reductions=[6, 2]), ("reductions", "[6, 2]")),
        (lambda d: d.update(reductions=[2, 2]), ("reductions",)),
        (lambda d: d.update(reductions=[-1]), ("reductions",)),
        (lambda d: d.update(reductions=[2] * 1001), ("reductions has 1001 numbers",)),
        (lambda d: d.update(reductions=[2.0]), ("reductions[0]", "2.0")),
        (lambda d: d.update(steps=0), ("steps is 0",)),
        (lambda d: d.update(steps=65), ("steps is 65",)),
        (lambda d: d.update(steps=10**9), ("steps is 1000000000",)),
        (lambda d: d.update(space="nasbench"), ("space", "nasbench", "ddarts, dartopti")),
        (lambda d: d.update(sequence=[0] * 7 + [8]), ("sequence", "cells are 0 to 7")),
        (lambda d: d.update(sequence=[]), ("sequence",)),
        (lambda d: d.update(version=2), ("version is 2",)),
        (lambda d: d.update(version=True), ("version is True",)),
        (lambda d: d.update(format="onnx"), ("format is 'onnx'",)),
        (lambda d: d.update(name="a\nb"), ("name",)),
        (lambda d: d.update(name=""), ("name",)),
        (lambda d: d.update(extra=1), ("unknown key 'extra'",)),
        (lambda d: d.pop("reductions"), ("'reductions' is missing",)),
    ],
)
def test_mutations_are_refused(data, change, parts):
    assert files.from_dict(data, "some.json")
    change(data)
    refused(data, *parts)


@QUICK
@given(genotypes(), st.data())
def test_drawn_mutations_name_cell_and_node(genotype, draw):
    index = draw.draw(st.integers(0, len(genotype.cells) - 1))
    gene = draw.draw(st.sampled_from(genotype.cells[index]))
    mutant = draw.draw(
        st.sampled_from(
            [
                gene._replace(op="unheard_of"),
                gene._replace(source=gene.to),
                gene._replace(source=gene.to + 1),
                gene._replace(to=genotype.steps + 2),
                gene,
            ]
        )
    )
    data = files.to_dict(genotype)
    data["cells"][index].append(list(mutant))
    refused(data, f"cell {index}: ", f"node {mutant.to}")


def test_missing_nodes_narrow_a_cell():
    cell = (Gene("skip_connect", 2, 0), Gene("sep_conv_3x3", 5, 2), Gene("sep_conv_5x5", 5, 3))
    assert nodes(cell) == (2, 5)
    assert live_genes(cell) == cell[:2]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is not a genotype"),
        (b"[1, 2]", "is not a genotype"),
        (b"{", "line 1"),
        (b"{}", "format is None"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "out of bounds"),
        (b'{"a": ' + b"[" * 100_000, "levels deep"),
        (b'{"a": ' * 100_000, "levels deep"),
        (b"\xff\xfe{", "not a text file"),
        (b"{" + b" " * files.MAX_BYTES, "4 MiB"),
    ],
)
def test_files_that_are_no_genotype(tmp_path, content, part):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DdartsError) as caught:
        files.read(path)
    assert str(caught.value).startswith(f"{path}: ") and part in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_the_users_mistake(tmp_path):
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(UsageError, match="no such genotype file"):
            files.read(path)


def test_brackets_inside_a_name_do_not_count_as_nesting(data):
    data["name"] = '[[[[[[[[["'
    text = json.dumps(data)
    assert files._loads(text, "text") == data


def test_the_package_needs_no_torch():
    modules = ("files", "published", "parse", "deepen", "derive", "zoo", "distance", "schema")
    code = f"import sys\nfrom ddarts.genotype import {', '.join(modules)}\nassert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
