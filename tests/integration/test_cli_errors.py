"""What the command line says and returns when something is wrong: one line, and an exit code."""

import subprocess
import sys

import pytest

from ddarts.cli import main
from ddarts.runtime.errors import DdartsError
from tests.command_line import ENVIRONMENT, fail

WRONG = [
    # words, what the one line says
    ("search --batch_size 0", ("--batch_size 0", "at least 1")),
    ("search --batch-size=-2", ("--batch_size -2", "at least 1")),
    ("search --learning_rate -1e-3", ("--learning_rate -1e-3", "above 0")),
    ("search --epochs", ("--epochs", "expected one argument")),
    ("search --epochs --amp", ("--epochs", "expected one argument")),
    ("search --amp=true", ("--amp=true: --amp takes no value; write --amp or --no_amp",)),
    ("search --arch-metric=1", ("--arch_metric takes no value; write --arch_metric or --no_arch_metric",)),
    ("search --json=1", ("--json takes no value; write --json",)),
    ("search --resume=", ("--resume '': must be a text that is not empty",)),
    ("search --dataset=", ("--dataset '': choose digits",)),
    ("search --dataset imagenet", ("--dataset imagenet", "--data FOLDER")),
    ("train --arch DD-4 --dataset imagenet", ("--dataset imagenet", "--data FOLDER")),
    (
        "search --dataset imagenet --data x --image_size 224 --val_resize 200",
        ("--val_resize 200", "--image_size, which is 224"),
    ),
    ("search --batch_size ٣", ("--batch_size ٣", "whole number")),
    ("search --init_from .", ("--init_from .: is a folder", "file")),
    ("search --workers 2", ("--workers 2", "--loader torchvision")),
    ("search --sep_loss l3", ("--sep_loss l3", "l2 or l1")),
    ("search --batchsize 3", ("--batchsize", "did you mean --batch_size?")),
    ("search --qqqqqq 3", ("--qqqqqq", "ddarts search --help")),
    ("search --epoch 3", ("--epoch", "did you mean --epochs?")),
    ("search stray", ("stray", "ddarts search --help")),
    ("search -x", ("-x", "ddarts search --help")),
    ("search --dataset mnist", ("--dataset mnist", "fashion_mnist")),
    ("search --ds_config z.json", ("--ds_config z.json", "--engine deepspeed")),
    ("search --arch_baseline ResNet19", ("--arch_baseline 'ResNet19'", "InceptionV4, ResNet18, ResNet50, Xception")),
    ("search --arch_baseline ResNet18 --layers 8", ("--layers 8", "ResNet18 brings its own")),
    ("search --arch_baseline ResNet18 --steps 4", ("--steps 4", "ResNet18 brings its own")),
    ("search --arch_baseline ResNet18 --multiplier 5", ("--multiplier 5", "4 in ResNet18")),
    ("search --arch_baseline Mine --baselines /nowhere", ("--baselines /nowhere", "no such folder")),
    ("search --arch_baseline ResNet18 --baseline_wiring odd", ("--baseline_wiring odd", "published or chain")),
    ("search --arch_baseline ResNet18 --pretrain_epochs -1", ("--pretrain_epochs -1", "at least 0")),
    ("search --amp --precision fp32", ("--precision fp32", "--amp")),
    ("search --config nowhere.yaml", ("--config nowhere.yaml", "cannot be read")),
    ("search --save a/b", ("--save a/b", "folder")),
    ("search --resume nowhere", ("--resume nowhere", "no such folder")),
    ("train", ("--arch is missing", "name of an architecture")),
    ("train --arch baseline_Xception --image_size 8 --batch_size 1", ("--batch_size 1", "at least 2 images")),
    ("train --arch DD-4 --drop_path_prob 1", ("--drop_path_prob 1", "below 1")),
    ("evaluate", ("--model_path is missing", "weights")),
    ("evaluate --model_path nowhere.pth", ("--model_path nowhere.pth", "no such file")),
    ("evaluate --model_path .", ("--model_path .: this folder has no best.safetensors", "run folder")),
    ("evaluate --model_path nowhere.pth --data=", ("--data '': must be a text",)),
    ("derive --alphas nowhere.npz", ("--alphas nowhere.npz", "no such file")),
    ("cost --arch DD-4 --init_channels 15", ("--init_channels 15", "even")),
    ("cost --arch DD-44", ("DD-44", "DD-4")),
    ("cost --arch DD-4 --init_channels 99999998", ("--init_channels 99999998", "at most 1048576")),
    ("cost --arch .", (".: this folder has no genotype.json", "run folder")),
    ("cost --arch /dev/null/x", ("/dev/null/x: no such genotype file",)),
    ("show --arch DD-4 --cell 99", ("--cell 99: 'DD-4' has the cells 0–7",)),
    ("show --arch DD-4 --format pdf", ("--format pdf", "svg")),
    ("distance DD-4", ("SECOND is missing", "architecture")),
    ("distance DD-4 DD-4 DD-4", ("DD-4", "--help")),
    ("serch", ("serch", "did you mean search?")),
    ("--nothing", ("unknown option --nothing: see ddarts --help",)),
    ("-x", ("unknown option -x: see ddarts --help",)),
]


@pytest.mark.parametrize(("words", "says"), WRONG)
def test_a_wrong_request_is_one_line_and_exit_code_2(capsys, monkeypatch, tmp_path, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ddarts: error: ") and err.count("\n") == 1
    assert all(part in err for part in says), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[""], ["help", ""], ["--json", ""]])
def test_an_empty_command_is_named_as_such(capsys, words):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("ddarts: error: unknown command '': choose one of search, ") and err.count("\n") == 1


def test_the_line_about_memory_names_every_size_that_was_given(stand_in, capsys):
    stand_in("search", work=fail(MemoryError()))
    assert main("search --batch_size 9 --init_channels 6 --image_size 64".split()) == 1
    err = capsys.readouterr().err
    assert "for --batch_size 9, --init_channels 6 and --image_size 64: lower one of them\n" in err
    stand_in("cost", work=fail(MemoryError()))
    assert main("cost --arch DD-4 --num_classes 77".split()) == 1
    assert "not enough memory for --num_classes 77: lower it\n" in capsys.readouterr().err


class OutOfMemoryError(RuntimeError):
    """Named as torch names it."""


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (DdartsError("the disk is full"), 1, "ddarts: error: the disk is full\n"),
        (KeyError("x\ny"), 1, "ddarts: error: KeyError: 'x\\ny' (--debug shows where)\n"),
        (ValueError("two\nlines"), 1, "ddarts: error: ValueError: two lines (--debug shows where)\n"),
        (KeyboardInterrupt(), 130, "ddarts: interrupted\n"),
        (MemoryError(), 1, "not enough memory for --batch_size 9 and --init_channels 6: lower one of them\n"),
        (OutOfMemoryError("CUDA"), 1, "--batch_size 9 and --init_channels 6"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 7 bytes"), 1, "--batch_size 9"),
    ],
)
def test_a_fault_is_one_line(stand_in, capsys, error, code, says):
    stand_in("search", work=fail(error))
    assert main(["search", "--batch_size", "9", "--init_channels", "6"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and says in err


def test_debug_shows_where_a_fault_comes_from(stand_in, capsys):
    stand_in("search", work=fail(ValueError("x")))
    assert main(["search", "--debug"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "in work" in err and "--debug" not in err.splitlines()[-1]


def test_a_run_that_was_stopped_asks_to_be_started_again(stand_in, capsys):
    from ddarts.runtime.signals import Requeue

    stand_in("search", work=fail(Requeue.of_run("search", "logs/search/a", "SIGTERM", 7)))
    assert main(["search"]) == 75
    assert capsys.readouterr().err.startswith("ddarts: stopped by SIGTERM after step 7")


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m ddarts archs | true; echo ${{PIPESTATUS[0]}}"
    shell = ["bash", "-c", command]
    done = subprocess.run(shell, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.stdout.strip() in ("0", "141") and done.stderr == ""


def test_a_terminal_without_greek_letters_gets_the_help_all_the_same():
    command = [sys.executable, "-m", "ddarts", "derive", "--help"]
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0 and "\\u03b1" in done.stdout


def test_a_fault_that_fills_pages_is_cut(stand_in, capsys):
    stand_in("search", work=fail(RuntimeError("compile error:\n" + "a warning\n" * 9000)))
    assert main(["search"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("ddarts: error: RuntimeError: compile error: a warning a warning")
    assert err.endswith(" … (--debug shows where)\n") and err.count("\n") == 1 and len(err) < 400
