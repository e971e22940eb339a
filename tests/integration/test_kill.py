"""Runs killed and stopped for real: a process that dies by SIGKILL within an epoch, or is asked to stop by SIGTERM,
is continued by command line and ends in the same bits as one that nobody disturbed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ddarts.genotype.files import write
from ddarts.genotype.schema import Gene, Genotype
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.weights import load_weights
from tests.bits import assert_same_bits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}", "OMP_NUM_THREADS": "1"}
PATIENCE = 120  # seconds until a process that does not get on fails the test
REQUEUE = 75
EVERY = 4  # steps between checkpoints
DIGITS = ["--dataset", "digits", "--image_size", "8", "--epochs", "2", "--checkpoint_every", str(EVERY)]
CELL = (Gene("sep_conv_3x3", 2, 0), Gene("skip_connect", 2, 1), Gene("max_pool_3x3", 3, 2), Gene("skip_connect", 3, 0))


@dataclass(frozen=True)
class Case:
    """A command, the folder of its runs, the rows that end an epoch, and the steps of an epoch."""

    command: str
    folder: str
    row: str
    options: tuple[str, ...]
    per_epoch: int


CASES = {
    "search": Case(
        "search",
        "search",
        "epoch",
        (
            *("--init_channels", "2", "--layers", "3", "--steps", "1", "--multiplier", "1", "--batch_size", "32"),
            *("--arch_learning_rate", "0.5", "--report_freq", "1", "--op_threshold", "0.6"),
        ),
        23,  # 718 images
    ),
    "train": Case(
        "train",
        "eval",
        "test",
        (
            *("--init_channels", "4", "--batch_size", "40", "--drop_path_prob", "0.3", "--report_freq", "1"),
            *("--cutout", "--cutout_length", "2", "--auxiliary", "--learning_rate", "0.05"),
        ),
        36,  # 1,437 images
    ),
}


def start(words):
    """A process of the program, its stderr caught."""
    command = [sys.executable, "-m", "ddarts", *words]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def run(words):
    """A process of the program to its end, which must be a good one."""
    process = start(words)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said


def begun(case, out, name):
    """The words that begin a run."""
    arch = ["--arch", str(out / "tiny.json")] if case.command == "train" else []
    return [case.command, *DIGITS, *case.options, *arch, "--out", str(out), "--save", name]


def wait_for_step(process, run_dir, step):
    """Wait until the run has a checkpoint of this step or a later one; returns which."""
    deadline = time.monotonic() + PATIENCE
    store = CheckpointStore(run_dir / "checkpoints")
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ended before step {step}: {process.stderr.read()}"
        steps = store.steps()
        if steps and steps[-1] >= step:
            return steps[-1]
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint of step {step} within {PATIENCE} s")


@pytest.fixture(scope="module", params=CASES)
def whole(request, tmp_path_factory):
    """(case, folder of an undisturbed run, folder for more runs)."""
    case = CASES[request.param]
    out = tmp_path_factory.mktemp(case.command)
    write(Genotype("tiny", "ddarts", 2, (2, 3), (1,), (CELL,) * 3), out / "tiny.json")
    run(begun(case, out, "whole"))
    return case, out / case.folder / "whole", out


def rows(run_dir, *kinds):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] in kinds]


def assert_same_end(case, one, other):
    """Two finished runs: last checkpoint, results and logged epochs, to the last bit."""
    states = [CheckpointStore(run_dir / "checkpoints").load() for run_dir in (one, other)]
    assert states[0][1] == states[1][1] == 2 * case.per_epoch
    assert_same_bits(states[0][0], states[1][0])
    if case.command == "search":
        arrays = [dict(np.load(run_dir / "alphas.npz")) for run_dir in (one, other)]
    else:
        arrays = [load_weights(run_dir / "last.safetensors") for run_dir in (one, other)]
    assert_same_bits(*arrays, "results")
    assert [row["epoch"] for row in rows(other, case.row)] == [0, 1]
    assert rows(one, case.row) == rows(other, case.row)
    steps = [row["step"] for row in rows(other, "train")]
    assert steps == list(range(1, 2 * case.per_epoch + 1))
    assert (other / "DONE").exists()


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_killed_run_is_continued_to_the_same_bits(whole, epoch):
    case, undisturbed, out = whole
    run_dir = out / case.folder / f"killed{epoch}"
    process = start(begun(case, out, run_dir.name))
    try:
        wait_for_step(process, run_dir, epoch * case.per_epoch + 2 * EVERY)
    finally:
        process.kill()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    last = CheckpointStore(run_dir / "checkpoints").load()[1]
    assert epoch * case.per_epoch < last < 2 * case.per_epoch and last % case.per_epoch  # not at an epoch's end
    assert not (run_dir / "DONE").exists()
    run([case.command, "--resume", str(run_dir)])
    assert_same_end(case, undisturbed, run_dir)


def test_a_stopped_run_says_how_to_go_on(whole):
    case, undisturbed, out = whole
    run_dir = out / case.folder / "stopped run"
    process = start(begun(case, out, run_dir.name))
    try:
        wait_for_step(process, run_dir, EVERY)
        process.terminate()
        asked = time.monotonic()
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == REQUEUE, said
    assert time.monotonic() - asked < 30
    line = said.splitlines()[-1]
    saved = CheckpointStore(run_dir / "checkpoints").load()[1]
    assert line.startswith(f"ddarts: stopped by SIGTERM after step {saved}, checkpoint saved; continue with: ddarts ")
    assert EVERY <= saved < 2 * case.per_epoch and not (run_dir / "DONE").exists()
    program, *words = shlex.split(line.partition("continue with: ")[2])
    assert program == "ddarts" and words[0] == case.command
    run(words)
    assert_same_end(case, undisturbed, run_dir)
