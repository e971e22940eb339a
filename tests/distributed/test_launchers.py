"""The launch scripts, each through search → derive → train → evaluate on digits with two ranks."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import pytest
from command_line import ENVIRONMENT, ROOT, run
from processes import PATHS, TINY

# Stands for SLURM on this machine: every task of a step is a process here.
SRUN = """#!/usr/bin/env bash
set -u
while [[ "${1:-}" == --* ]]; do shift; done
for task in 0 1; do
    SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=2 SLURM_STEP_ID=0 "$@" &
    tasks[task]=$!
done
code=0
for task in "${tasks[@]}"; do wait "$task" || code=$?; done
exit $code
"""
SLURM = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "localhost", "ENVIRONMENT": "BATCH", "SLURM_NTASKS": "2"}


def launch(script, tmp_path, *words, **variables):
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    for name, text in (("srun", SRUN), ("scontrol", '#!/bin/sh\necho "$@" > "$TOOLS/requeued"\n')):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = os.pathsep.join((str(tools), os.path.dirname(sys.executable), os.environ["PATH"]))
    own = {"PATH": path, "PYTHONPATH": PATHS, "RANKS": "2", "OUT": str(tmp_path / "logs"), "TOOLS": str(tools)}
    command = ["bash", str(ROOT / "launch" / script), *map(str, words)]
    environment = {**ENVIRONMENT, **own, **variables}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "variables"), [("torchrun.sh", {}), ("deepspeed.sh", {"DS_ACCELERATOR": "cpu"}), ("slurm.sbatch", SLURM)]
)
def test_every_launcher_runs_the_whole_way(script, variables, tmp_path):
    if script == "deepspeed.sh" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")
    folder = tmp_path / "logs" / "search" / "a run"
    found = launch(script, tmp_path, "search", "a run", *TINY, "--max_steps", 3, **variables)
    assert found.returncode == 0 and (folder / "DONE").exists(), found.stderr[-3000:]
    assert found.stderr.count("epoch 1/2  3/3") == 1  # one rank prints
    derived = run("derive", "--alphas", str(folder), "--op_threshold", "0.5", "--output", str(tmp_path / "found.json"))
    assert derived.returncode == 0, derived.stderr
    words = ["--arch", tmp_path / "found.json", "--dataset", "digits", "--epochs", 1, "--batch_size", 32]
    words += ["--init_channels", 4, "--max_steps", 3, "--report_freq", 1]
    found = launch(script, tmp_path, "train", "b", *words, **variables)
    weights = tmp_path / "logs" / "eval" / "b" / "last.safetensors"
    assert found.returncode == 0 and weights.exists(), found.stderr[-3000:]
    measured = run("evaluate", "--dataset", "digits", "--model_path", str(weights), "--json")
    assert json.loads(measured.stdout)["images"] == 360
    done = launch(script, tmp_path, "search", "a run", *TINY, **variables)
    assert done.returncode == 0 and "is finished" in done.stderr


def test_scripts_say_how_they_are_used_and_what_they_do_not_know(tmp_path):
    for script in ("torchrun.sh", "deepspeed.sh", "slurm.sbatch"):
        assert launch(script, tmp_path).returncode == 2
        assert f"launch/{script} search|train NAME" in launch(script, tmp_path).stderr
        found = launch(script, tmp_path, "serch", "x")
        assert found.returncode == 2 and "serch: choose search or train" in found.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="ShellCheck is not installed")
def test_scripts_are_shellcheck_clean():
    scripts = sorted(str(path) for path in (ROOT / "launch").iterdir())
    found = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
