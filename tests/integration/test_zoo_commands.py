"""The commands that take an architecture, over the whole zoo and over a user's own file."""

import json
from pathlib import Path

import pytest
from PIL import Image

from ddarts.cli import main
from ddarts.genotype import files, zoo

ENTRIES = {entry.name: entry for entry in zoo.entries()}
BASELINES = [name for name in ENTRIES if name.startswith("baseline_")]
BROKEN = "Xception_cifar100_threshold_edge_0.85"


def run(capsys, words):
    assert main([*words.split(), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def train(capsys, tmp_path):
    """Train a step with the auxiliary head, then measure the weights by their file alone."""

    def work(arch, options):
        words = (
            f"train --arch {arch} {options} --auxiliary --init_channels 4 --max_steps 1 --device cpu --out {tmp_path}"
        )
        trained = run(capsys, f"{words} --save run --loader resident")
        measured = run(capsys, f"evaluate --model_path {trained['run_dir']}/last.safetensors --device cpu {options}")
        assert measured["top1"] == trained["last_top1"] and measured["params"] == trained["params"]
        return trained

    return work


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if entry.alias_of else n for n, entry in ENTRIES.items()]
)
def test_cost_and_show_work_for_every_name_or_say_why_not(capsys, tmp_path, name):
    costs = f"cost --arch {name} --dataset imagenet --init_channels 4 --imagenet_stem"
    if name == BROKEN:
        for words in (f"{costs} darts", f"show --arch {name} --format text", f"train --arch {name} --out {tmp_path}"):
            assert main(words.split()) == 1
            err = capsys.readouterr().err
            assert "cell 12: node 3: all its edges come from nodes without operations" in err and err.count("\n") == 1
        return
    published, mobile = (run(capsys, f"{costs} {stem}") for stem in ("published", "darts"))
    assert published["params"] == mobile["params"] and published["macs"] > 3 * mobile["macs"]
    assert published["input"] == [1, 3, 224, 224]
    assert main(["show", "--arch", name, "--format", "text"]) == 0
    assert f"{ENTRIES[name].cells} cells" in capsys.readouterr().out


@pytest.mark.parametrize("arch", BASELINES)
def test_baselines_are_trained_and_measured_as_digits(train, arch):
    train(arch, "--dataset digits --image_size 12 --batch_size 32")


@pytest.mark.parametrize("stem", ["published", "darts"])
def test_photographs_behind_the_imagenet_stems(train, tmp_path, stem):
    for label in ("light", "dark"):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (70, 50), (20 * number, 255, 0) if label == "light" else (0, 20 * number, 20)).save(
                folder / f"{number}.png"
            )
    options = f"--dataset folder --data {tmp_path}/images --image_size 48 --imagenet_stem {stem} --batch_size 4"
    train("DO-ResNet18-imagenet", options)


def test_a_file_of_the_user_s_works_everywhere(capsys, train, tmp_path):
    mine = files.write(zoo.resolve("DO-ResNet50"), tmp_path / "mine.json")
    assert run(capsys, f"distance {mine} DO-ResNet50")["distance"] == 0
    assert run(capsys, f"distance --matrix {mine} baseline_ResNet50")["names"][0] == str(mine)
    counts = [run(capsys, f"cost --arch {arch} --dataset cifar10") for arch in (mine, "DO-ResNet50")]
    assert counts[0] == counts[1]
    drawing = run(capsys, f"show --arch {mine} --format html --output {tmp_path}/mine.html")
    assert Path(drawing["path"]).stat().st_size > 1000
    trained = train(str(mine), "--dataset digits --image_size 8 --batch_size 64")
    assert files.read(Path(trained["run_dir"]) / "genotype.json").cells == zoo.resolve("DO-ResNet50").cells
    assert run(capsys, f"distance {trained['run_dir']} {mine}")["distance"] == 0
