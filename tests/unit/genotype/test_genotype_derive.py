"""`derive`: σ(α) in a file or run folder to a genotype, and every file that is refused."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ddarts.config import DeriveConfig, SearchConfig, to_yaml
from ddarts.genotype import alphas_file, files, parse, zoo
from ddarts.genotype.derive import derive
from ddarts.runtime.errors import DdartsError, UsageError

FILES = Path(__file__).parents[2] / "data_files"
CASES = json.loads((FILES / "parse_cases.json").read_text())["cases"]
INPUTS = dict(np.load(FILES / "parse_inputs.npz", allow_pickle=False))


def strong(cells=8, edges=14, ops=7):
    """σ(α) from which every method keeps something everywhere."""
    return np.random.default_rng(0).uniform(0.86, 1, (cells, edges, ops))


def saved(tmp_path, array, name="alphas.npz", **more):
    path = tmp_path / name
    np.savez(path, alphas=array, **more)
    return str(path)


def run_folder(tmp_path, array, **options):
    folder = tmp_path / "run-7"
    folder.mkdir()
    np.savez(folder / "alphas.npz", alphas=array, logits=array)
    to_yaml(dataclasses.replace(SearchConfig(), **options), folder / "config.yaml")
    return str(folder)


def test_a_recorded_case_from_file_to_file(tmp_path):
    case = next(c for c in CASES if c["alphas"] == "a00" and c["parse_method"] == "threshold_edge")
    output = tmp_path / "out" / "mine.json"
    config = DeriveConfig(
        alphas=saved(tmp_path, INPUTS["a00"]),
        parse_method="threshold_edge",
        op_threshold=case["op_threshold"],
        output=str(output),
    )
    genotype = derive(config)
    assert [[list(gene) for gene in cell] for cell in genotype.cells] == case["cells"]
    assert (genotype.name, genotype.space, genotype.steps) == ("mine", "ddarts", 4)
    assert (genotype.concat, genotype.reductions, genotype.sequence) == ((2, 3, 4, 5), (2, 5), None)
    assert files.read(output) == genotype
    with pytest.raises(UsageError, match=r"mine\.json: exists already"):
        derive(config)


def test_the_space_follows_from_the_operations(tmp_path):
    genotype = derive(DeriveConfig(alphas=saved(tmp_path, strong(4, 27, 12))))
    assert (genotype.space, genotype.steps, genotype.concat) == ("dartopti", 6, (4, 5, 6, 7))


def test_reductions_and_layers(tmp_path):
    path = saved(tmp_path, strong())
    assert derive(DeriveConfig(alphas=path, reductions=(1, 7))).reductions == (1, 7)
    deeper = derive(DeriveConfig(alphas=path, layers=14, derivation="cycle"))
    assert (deeper.layers, deeper.reductions, len(deeper.cells)) == (14, (4, 9), 8)
    code = derive(DeriveConfig(alphas=path, layers=14, derivation="code", reductions=(2, 6)))
    assert code.reductions == (2, 6)
    for wrong in ((2, 8), (6, 2), (2, 2)):
        with pytest.raises(UsageError, match=f"--reductions {wrong[0]},{wrong[1]}: ascending positions from 0 to 7"):
            derive(DeriveConfig(alphas=path, reductions=wrong))
    with pytest.raises(UsageError, match="--layers 7"):
        derive(DeriveConfig(alphas=path, layers=7))


def test_a_run_folder_brings_its_own_settings(tmp_path):
    weights = strong()
    folder = run_folder(tmp_path, weights, parse_method="threshold_complete", op_threshold=0.95, multiplier=2)
    left_out = dataclasses.replace(DeriveConfig(alphas=folder), parse_method=None, op_threshold=None)
    genotype = derive(left_out)
    assert genotype.cells == parse.parse(weights, "ddarts", 4, "threshold_complete", 0.95)
    assert (genotype.name, genotype.concat) == ("run-7", (4, 5))
    asked = derive(dataclasses.replace(left_out, parse_method="darts"))
    assert asked.cells == parse.parse(weights, "ddarts", 4, "darts")


def test_a_file_says_space_reductions_and_which_positions_share_a_cell(tmp_path):
    alphas, path = strong(3, 14, 12), tmp_path / "alphas.npz"
    baseline = zoo.baseline("Xception")
    alphas_file.write_alphas(path, alphas, alphas, "dartopti", baseline.reductions, baseline.sequence)
    genotype = derive(DeriveConfig(alphas=str(path)))
    assert (genotype.space, genotype.layers, len(genotype.cells)) == ("dartopti", 13, 3)
    assert (genotype.reductions, genotype.sequence) == (baseline.reductions, baseline.sequence)
    assert derive(DeriveConfig(alphas=str(path), reductions=(4, 12))).reductions == (4, 12)
    with pytest.raises(DdartsError, match="expected for space ddarts; it fits space dartopti"):
        derive(DeriveConfig(alphas=str(path), space="ddarts"))


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"space": np.array("mine")}, "space is none of ddarts, dartopti"),
        ({"space": np.array(["ddarts"])}, "space is none of"),
        ({"sequence": np.array([0, 8])}, "sequence must name cells from 0 to 7"),
        ({"sequence": np.array([], dtype=int)}, "sequence must name cells from 0 to 7"),
        ({"sequence": np.zeros(1001, dtype=int)}, "sequence must be a list of at most 1000 whole numbers"),
        ({"reductions": np.array([0.5])}, "reductions must be a list of at most 1000 whole numbers"),
        ({"reductions": np.array([3, 9])}, "they must be ascending positions below 8"),
        ({"reductions": np.array([{}], dtype=object)}, "reductions cannot be read"),
    ],
)
def test_what_else_a_file_says_must_make_sense(tmp_path, more, part):
    path = saved(tmp_path, strong(), **more)
    with pytest.raises(DdartsError) as caught:
        derive(DeriveConfig(alphas=path))
    assert str(caught.value).startswith(f"{path}: ") and part in str(caught.value)


def test_weak_alphas_name_their_cells(tmp_path):
    weights = strong()
    weights[3] = 0.5
    path = saved(tmp_path, weights)
    output = tmp_path / "never.json"
    with pytest.raises(DdartsError) as caught:
        derive(DeriveConfig(alphas=path, output=str(output)))
    message = str(caught.value)
    assert message.startswith(f"{path}: no valid genotype by threshold_sparse at op_threshold 0.85: cell 3: is empty")
    assert "lower --op_threshold" in message and not output.exists()


@pytest.mark.parametrize(
    ("array", "space", "part"),
    [
        (strong(8, 13, 7), None, "no cell has 13 edges"),
        (strong(8, 14, 9), None, "cells × edges × 7 operations"),
        (strong(8, 14, 7), "dartopti", "expected for space dartopti; it fits space ddarts"),
        (strong(8, 14, 12), "ddarts", "expected for space ddarts; it fits space dartopti"),
        (strong()[0], None, "has shape (14, 7)"),
        (strong()[:0], None, "has shape (0, 14, 7)"),
        (strong() > 0.5, None, "has type bool"),
        (strong().astype(int), None, "has type int64"),
        (np.full((8, 14, 7), "0.9"), None, "has type <U3"),
        (np.full((8, 14, 7), np.nan), None, "NaN"),
        (strong() + 1, None, "outside [0, 1]"),
        (np.array([[{"a": 1}]], dtype=object), None, "cannot be read"),
    ],
)
def test_arrays_that_are_refused(tmp_path, array, space, part):
    path = saved(tmp_path, array)
    with pytest.raises(DdartsError) as caught:
        derive(DeriveConfig(alphas=path, space=space))
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and part in message and "\n" not in message, message


def test_files_that_are_no_archive(tmp_path):
    path = tmp_path / "file.npz"
    whole = io.BytesIO()
    np.savez(whole, alphas=strong())
    damaged = bytearray(whole.getvalue())
    damaged[300] ^= 0xFF
    cases = {
        b"": "is not an .npz file",
        b"hello": "is not an .npz file",
        whole.getvalue()[:-40]: "is not an .npz file",
        bytes(damaged): "or is damaged",
    }
    for content, part in cases.items():
        path.write_bytes(content)
        with pytest.raises(DdartsError, match=part):
            derive(DeriveConfig(alphas=str(path)))
    np.savez(path, logits=strong())
    with pytest.raises(DdartsError, match="holds no array 'alphas', but 'logits'"):
        derive(DeriveConfig(alphas=str(path)))
    np.save(tmp_path / "single.npy", strong())
    with pytest.raises(DdartsError, match="is not an .npz file"):
        derive(DeriveConfig(alphas=str(tmp_path / "single.npy")))


def test_an_array_that_claims_to_be_huge_is_not_allocated(tmp_path):
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 14, 7)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("alphas.npy", header.getvalue())
    with pytest.raises(DdartsError, match="cannot be read|larger than"):
        derive(DeriveConfig(alphas=str(path)))


def test_missing_files_are_the_users_mistake(tmp_path):
    for path in (tmp_path / "absent.npz", tmp_path):
        with pytest.raises(UsageError, match="no such file"):
            derive(DeriveConfig(alphas=str(path)))


def test_an_object_array_runs_nothing(tmp_path, monkeypatch):
    class Canary:
        def __reduce__(self):
            return Path.touch, (tmp_path / "canary",)

    path = saved(tmp_path, np.array([Canary()], dtype=object))
    with pytest.raises(DdartsError, match="cannot be read"):
        derive(DeriveConfig(alphas=path))
    assert not (tmp_path / "canary").exists()
