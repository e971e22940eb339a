"""The ImageNet road on small photographs: pinned, checked, searched, derived, trained and measured by the commands."""

import json
import shutil
from pathlib import Path

import pytest
from ddarts_benchmarks.photographs import make_tree

import ddarts
from ddarts.cli import main
from ddarts.config import EvaluateConfig, SearchConfig, TrainConfig
from ddarts.network.trained import load_model
from ddarts.runtime.availability import dali_problem
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError

LOADER = "torchvision" if dali_problem() else "dali"
SIZE = 64


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tree(tmp_path_factory.mktemp("photographs"), train=12, val=4, size=140)
    assert main(["data", "prepare", "imagenet", "--data", str(root)]) == 0
    return root


def _options(tree: Path, tmp_path: Path, **more):
    places = {"dataset": "imagenet", "data": str(tree), "image_size": SIZE, "out": str(tmp_path), "device": "cpu"}
    return {**places, "loader": LOADER, "workers": 1, "batch_size": 8, **more}


def _searched(tree: Path, tmp_path: Path, **more):
    small = {"init_channels": 4, "layers": 3, "steps": 2, "multiplier": 2, "epochs": 1, "save": "run"}
    return ddarts.search(SearchConfig(**_options(tree, tmp_path, arch_learning_rate=0.3, **{**small, **more})))


@pytest.fixture(scope="module")
def trained(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Searched, derived, trained: the training's result."""
    folder = tmp_path_factory.mktemp("logs")
    run = _searched(tree, folder)["run_dir"]
    derived = folder / "found.json"
    derive = ["derive", "--alphas", run, "--parse_method", "darts", "--output", str(derived)]
    assert main(derive) == 0
    options = _options(tree, folder, arch=str(derived), init_channels=8, epochs=2, drop_path_prob=0.0, auxiliary=True)
    return ddarts.train(TrainConfig(**options))


def test_the_road_from_a_search_to_a_measured_network(tree: Path, trained: dict) -> None:
    weights = Path(trained["run_dir"]) / "last.safetensors"
    measure = EvaluateConfig(model_path=str(weights), dataset="imagenet", data=str(tree), loader=LOADER, device="cpu")
    found = ddarts.evaluate(measure)
    assert found["images"] == 16 and found["top1"] == trained["last_top1"] and 0 < found["loss"] < 10
    assert found["top5"] == 100  # of four classes
    other = ddarts.evaluate(EvaluateConfig(**{**vars(measure), "loader": "torchvision", "batch_size": 3}))
    assert other["top1"] == found["top1"] and other["loss"] == pytest.approx(found["loss"], abs=0.02)
    assert load_model(weights).stem_name == "imagenet"
    rows = (Path(trained["run_dir"]) / "metrics.jsonl").read_text().splitlines()
    assert {"top1", "top5", "loss"} <= json.loads(rows[-1]).keys()


def test_val_resize_changes_what_is_measured(tree: Path, trained: dict) -> None:
    options = {"model_path": trained["run_dir"], "dataset": "imagenet", "data": str(tree), "device": "cpu"}
    usual, wide = (ddarts.evaluate(EvaluateConfig(**options, loader=LOADER, val_resize=n)) for n in (None, 128))
    assert ddarts.evaluate(EvaluateConfig(**options, loader=LOADER, val_resize=73))["loss"] == usual["loss"]
    assert usual["loss"] != wide["loss"]


def test_a_renamed_class_is_not_measured_under_another_label(tree: Path, trained: dict, tmp_path: Path, capsys) -> None:
    copy = Path(shutil.copytree(tree, tmp_path / "copy"))
    (copy / "classes.txt").unlink()
    for split in ("train", "val"):
        (copy / split / "n00000001").rename(copy / split / "n00000009")
    assert main(["data", "prepare", "imagenet", "--data", str(copy)]) == 0
    options = {"model_path": trained["run_dir"], "data": str(copy), "device": "cpu", "loader": LOADER}
    for dataset in ("imagenet", "folder"):
        with pytest.raises(DdartsError, match="label 0 is n00000002 here, and n00000001 for the weights"):
            ddarts.evaluate(EvaluateConfig(**options, dataset=dataset))
    assert main(["train", "--resume", trained["run_dir"], "--data", str(copy), "--epochs", "3"]) == 1
    assert "label 0 is n00000002 now, and was n00000001 when the run began" in capsys.readouterr().err


@pytest.mark.parametrize("stem", ["published", "darts"])
def test_a_search_stopped_within_an_epoch_ends_in_the_same_bits(tree: Path, tmp_path: Path, stem: str) -> None:
    whole = _searched(tree, tmp_path, imagenet_stem=stem, epochs=2, max_steps=5)
    _searched(tree, tmp_path, imagenet_stem=stem, epochs=2, max_steps=2, save="stopped")
    resumed = _searched(
        tree, tmp_path, epochs=2, imagenet_stem=stem, max_steps=5, resume=str(tmp_path / "search/stopped")
    )
    states = [CheckpointStore(Path(run["run_dir"]) / "checkpoints").load("latest")[0] for run in (whole, resumed)]
    for part in ("network", "alphas"):
        for name, value in states[0][part].items():
            assert value.equal(states[1][part][name]), name


def test_both_executions_of_the_search_agree_after_an_imagenet_stem(tree: Path, tmp_path: Path) -> None:
    found = [_searched(tree, tmp_path, supernet=name, save=name, max_steps=1) for name in ("reference", "fused")]
    states = [CheckpointStore(Path(run["run_dir"]) / "checkpoints").load("latest")[0] for run in found]
    for name, value in states[0]["network"].items():
        if value.is_floating_point():
            assert (value - states[1]["network"][name]).abs().max() < 1e-3, name


def test_bad_files_stop_a_run_unless_they_are_left_out(tree: Path, tmp_path: Path, capsys) -> None:
    copy = Path(shutil.copytree(tree, tmp_path / "copy"))
    victim = next((copy / "train" / "n00000002").iterdir())
    victim.write_bytes(victim.read_bytes()[:500])
    words = ["search", "--dataset", "imagenet", "--data", str(copy), "--image_size", str(SIZE), "--loader", LOADER]
    words += ["--init_channels", "4", "--layers", "3", "--steps", "1", "--multiplier", "1", "--batch_size", "8"]
    words += ["--epochs", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert main([*words, "--save", "a"]) == 1
    assert f"{victim}: not a readable image" in capsys.readouterr().err
    assert main(["data", "check", "imagenet", "--data", str(copy)]) == 0
    assert f"bad: train/n00000002/{victim.name}: not a readable image" in capsys.readouterr().out
    assert main([*words, "--save", "b", "--skip_bad_files"]) == 0
    assert "1 of the 48 train images of imagenet are left out: bad" in capsys.readouterr().err


def test_a_run_goes_on_without_a_file_that_has_gone_bad_but_not_with_other_classes(
    tree: Path, tmp_path: Path, capsys
) -> None:
    copy = Path(shutil.copytree(tree, tmp_path / "copy"))
    (copy / "classes.txt").unlink()  # as folders, by the alphabet
    run = _searched(copy, tmp_path, dataset="folder", epochs=2, max_steps=1)["run_dir"]
    again = ["search", "--resume", run, "--max_steps", "2"]
    next((copy / "train" / "n00000002").iterdir()).write_bytes(b"")
    assert main(["data", "check", "folder", "--data", str(copy)]) == 0
    assert main([*again, "--skip_bad_files"]) == 0
    said = capsys.readouterr().err
    assert "1 of the 48 train images of folder are left out: bad" in said
    assert "began with 48 training images and goes on with 47" in said
    for split in ("train", "val"):
        (copy / split / "n00000002").rename(copy / split / "zebra")
    assert main([*again, "--max_steps", "3"]) == 1
    assert "label 1 is n00000003 now, and was n00000002 when the run began" in capsys.readouterr().err
