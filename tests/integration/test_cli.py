"""The command line as a user meets it: help, options, results, errors and exit codes."""

import json
import subprocess
import sys

import pytest

import ddarts
from ddarts.cli import main
from ddarts.commands.registry import COMMANDS
from ddarts.config import SearchConfig, TrainConfig
from ddarts.config.options import specs
from ddarts.runtime.errors import DdartsError
from tests.command_line import ENVIRONMENT, fail, run

HEAVY = ("torch", "torchvision", "matplotlib", "sklearn")
SEARCHED = {"run_dir": "logs/search/a b", "genotype": {"cells": []}, "valid_acc": 0.5, "epochs": 2}
TRAINED = {"run_dir": "logs/eval/a", "best_top1": 0.97, "params": 1234567, "macs": 5}


# Help


def test_no_command_s_help_imports_anything_heavy():
    code = f"""
import contextlib, io, sys
from ddarts.cli import main
for name in {list(COMMANDS)!r}:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([name, "--help"])
    assert len(out.getvalue()) > 40, name
main(["--help"]); main(["search", "--epochs", "0"]); main(["--version"])
import ddarts; ddarts.SearchConfig
found = [name for name in {HEAVY!r} if name in sys.modules]
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [("--help",), ("search", "--help")])
def test_help_of_a_real_process_is_all_on_stdout(words):
    done = run(*words)
    assert done.returncode == 0 and done.stderr == "" and len(done.stdout) > 200


def test_the_overview_names_every_command_and_help_every_option(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    for name, command in COMMANDS.items():
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        for option in specs(command.options).values():
            assert option.flag in text or f"--no_{option.name}" in text


def test_version_is_one_line(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ddarts {ddarts.__version__}\n"


# Options


PUBLISHED_SEARCH = (
    "search --epochs 2 --batch_size 96 --pretrain_epochs 0 --init_channels 16 --amp --no_arch_metric"
    " --max_steps 4 --dataset digits"
)
PUBLISHED_TRAIN = (
    "train --auxiliary --cutout --auto_aug --arch D-DARTS_threshold_sparse_cifar10_0.85_50 --init_channels 36"
    " --dataset digits --max_steps 3"
)


def test_the_published_search_command(stand_in, capsys):
    calls = stand_in("search", SEARCHED)
    assert main(PUBLISHED_SEARCH.split()) == 0
    assert capsys.readouterr().err == ""
    (options,) = calls
    assert isinstance(options, SearchConfig)
    wanted = {"epochs": 2, "batch_size": 96, "pretrain_epochs": 0, "init_channels": 16, "amp": True,
              "no_arch_metric": True, "max_steps": 4, "dataset": "digits"}  # fmt: skip
    assert {name: getattr(options, name) for name in wanted} == wanted


def test_the_published_search_from_a_baseline(stand_in, capsys):
    calls = stand_in("search", SEARCHED)
    words = "search --batch_size 96 --arch_baseline ResNet18 --amp"
    assert main(words.split()) == main([*words.split(), "--data", "/x"]) == 0
    assert capsys.readouterr().err == ""
    digits, cifar = calls
    wanted = {"batch_size": 96, "arch_baseline": "ResNet18", "amp": True, "layers": None, "steps": None}
    for options, more in (
        (digits, {"dataset": "digits", "init_channels": 2, "image_size": 16, "pretrain_epochs": 1}),
        (cifar, {"dataset": "cifar10", "init_channels": 32, "epochs": 50, "pretrain_epochs": 5}),
    ):
        assert {name: getattr(options, name) for name in wanted | more} == wanted | more


def test_the_published_training_command(stand_in, capsys):
    calls = stand_in("train", TRAINED)
    assert main(PUBLISHED_TRAIN.split()) == 0
    assert capsys.readouterr().err == ""
    (options,) = calls
    assert isinstance(options, TrainConfig)
    wanted = {"auxiliary": True, "cutout": True, "auto_aug": True, "init_channels": 36, "max_steps": 3,
              "arch": "D-DARTS_threshold_sparse_cifar10_0.85_50"}  # fmt: skip
    assert {name: getattr(options, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("search --batch-size 5", "batch_size", 5),
        ("search --batch_size=5", "batch_size", 5),
        ("search --batch-size=5", "batch_size", 5),
        ("search --no-arch-metric", "no_arch_metric", True),
        ("search --no_arch_metric --arch_metric", "no_arch_metric", False),
        ("search --amp --no_amp", "amp", False),
        ("search --gpus 0 1 --epochs 3", "gpus", (0, 1)),
        ("search --epochs 3 --epochs 4", "epochs", 4),
        ("train --arch DD-4 --epoch 7", "epochs", 7),
        ("train --arch=--odd-name", "arch", "--odd-name"),
        ("--debug search --epochs 3", "epochs", 3),
    ],
)
def test_spellings(stand_in, capsys, words, name, value):
    command = "train" if "train" in words else "search"
    calls = stand_in(command, TRAINED if command == "train" else SEARCHED)
    assert main(words.split()) == 0
    assert getattr(calls[0], name) == value


def test_the_command_line_overrides_a_file(stand_in, capsys, tmp_path):
    path = tmp_path / "o.yaml"
    path.write_text("epochs: 7\nbatch_size: 11\namp: true\n")
    calls = stand_in("search", SEARCHED)
    assert main(["search", "--config", str(path), "--batch-size", "12", "--no_amp"]) == 0
    assert (calls[0].epochs, calls[0].batch_size, calls[0].amp) == (7, 12, False)


# Results


def test_json_is_one_object_and_all_else_is_on_stderr(stand_in, capsys):
    stand_in("search", {**SEARCHED, "valid_acc": float("nan")}, work=lambda: print("chatter of a library"))
    assert main(["search", "--json", "--gpus", "0"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {**SEARCHED, "valid_acc": "nan"} and out.count("\n") == 1
    assert "chatter" in err and "--gpus has no effect" in err


def test_json_leaves_stdout_empty_when_something_is_wrong(stand_in, capsys):
    stand_in("search", work=fail(DdartsError("no")))
    assert main(["search", "--json"]) == 1
    assert capsys.readouterr().out == ""


def test_a_result_is_shown_as_one_line_for_each_value(stand_in, capsys):
    stand_in("train", TRAINED)
    assert main(["train", "--arch", "DD-4"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == ["run dir    logs/eval/a", "best top1  0.97", "params     1,234,567", "macs       5"]
    stand_in("search", {**SEARCHED, "genotype": None})
    assert main(["search"]) == 0
    assert "genotype   none\n" in capsys.readouterr().out


def test_archs_lists_names_and_filters_them(capsys):
    assert main(["archs"]) == 0
    everything = capsys.readouterr().out
    assert "DD-4" in everything and "baseline_ResNet18" in everything
    assert main(["archs", "resnet18", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["architectures"]
    assert found and all("resnet18" in entry["name"].lower() for entry in found)
    assert {"name", "space", "cells", "steps", "source"} <= set(found[0])
    assert main(["archs", "nothing-like-it"]) == 0
    assert "no architecture matches 'nothing-like-it'" in capsys.readouterr().out


def test_distance_gives_the_published_value(capsys):
    words = ["distance", "baseline_ResNet18", "baseline_ResNet50"]
    assert main([*words, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["distance"] == pytest.approx(0.084, abs=5e-4) and len(plain["cells"]) >= 1
    assert main([*words, "--strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["distance"] >= plain["distance"]
    assert main(words) == 0
    assert "distance  0.08" in capsys.readouterr().out


def test_derive_prints_a_genotype_or_writes_one_but_never_over_another(capsys, tmp_path):
    np = pytest.importorskip("numpy")
    alphas = np.random.default_rng(0).uniform(0.8, 1, (4, 14, 7))
    np.savez(tmp_path / "alphas.npz", alphas=alphas)
    words = ["derive", "--alphas", str(tmp_path / "alphas.npz"), "--parse_method", "darts", "--reductions", "1,2"]
    assert main(words) == 0
    shown = json.loads(capsys.readouterr().out)
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == shown
    assert shown["reductions"] == [1, 2] and len(shown["cells"]) == 4 and len(shown["cells"][0][0]) == 3
    target = tmp_path / "g.json"
    assert main([*words, "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    before = target.read_bytes()
    assert json.loads(before)["cells"] == shown["cells"]
    assert main([*words, "--output", str(target)]) == 2
    assert "--output" in capsys.readouterr().err and target.read_bytes() == before
    assert main([*words, "--output", str(tmp_path / "new" / "g.json")]) == 0
    capsys.readouterr()
    assert main([*words, "--reductions", "9,10"]) == 2
    assert "--reductions 9,10: ascending positions from 0 to 3" in capsys.readouterr().err


def test_info_says_what_is_there_and_why_the_rest_is_not(capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["ddarts"] == ddarts.__version__ and found["versions"]["torch"][0].isdigit()
    assert "cores" in found["devices"]["cpu"] and found["build"]
    rows = {(row["op"], row["backend"]): row for row in found["operators"]}
    assert all(rows[op, "reference"]["available"] for op, _ in rows)
    assert all(row["available"] or row["note"] for row in rows.values()) and rows
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert all(op in text and backend in text for op, backend in rows)


def test_info_shows_what_is_wrong_with_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("DDARTS_BACKEND", "reference")
    assert main(["info"]) == 0
    assert "backend\n  chosen  reference\n" in capsys.readouterr().out
    monkeypatch.setenv("DDARTS_BACKEND", "foo")
    assert main(["info"]) == 0
    assert "DDARTS_BACKEND foo: unknown: allowed are auto, reference, cpp, cuda, triton\n" in capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backend"]["chosen"] == "foo"


def test_cost_counts_the_network_of_the_article(capsys):
    arch = "D-DARTS_threshold_edge_abl0.5_fair7_cifar100_0.85_50"
    words = ["cost", "--arch", arch, "--layers", "14", "--init_channels", "36", "--dataset", "cifar10"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == 6_280_822
    assert main(words) == 0
    assert "6,280,822" in capsys.readouterr().out


def test_show_lists_cells_in_a_terminal_and_draws_files(capsys, tmp_path):
    assert main(["show", "--arch", "DD-4", "--format", "text"]) == 0
    assert "sep_conv" in capsys.readouterr().out
    target = tmp_path / "cells.svg"
    assert main(["show", "--arch", "DD-cifar10", "--cell", "0", "--output", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(target)} and "<svg" in target.read_text()
    assert main(["show", "--arch", "DD-4", "--output", str(target)]) == 2


# The package


def test_names_of_the_package_are_loaded_when_used():
    code = """
import sys, ddarts
assert "ddarts.config" not in sys.modules and "ddarts.search" not in sys.modules
assert set(ddarts.__all__) <= set(dir(ddarts))
assert ddarts.search is sys.modules["ddarts.search"] and callable(ddarts.search)
assert ddarts.derive is sys.modules["ddarts.genotype.derive"].derive
assert ddarts.SearchConfig.__name__ == "SearchConfig" and "torch" not in sys.modules
try:
    ddarts.serch
except AttributeError as error:
    assert "serch" in str(error)
else:
    raise SystemExit("no error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ddarts.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ddarts, name) is not None
