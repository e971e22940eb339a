"""The launch scripts, each through search (stopped once) → derive → train → evaluate on digits with two ranks."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, ROOT, run
from processes import PATHS, TINY, wait_for_step

# Stands for SLURM on this machine: every task of a step is a process here.
SRUN = """#!/usr/bin/env bash
set -u
while [[ "${1:-}" == --* ]]; do shift; done
for task in 0 1; do
    SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=2 SLURM_STEP_ID=0 "$@" &
    tasks[task]=$!
done
trap 'kill -TERM "${tasks[@]}"' TERM
code=0
for task in "${tasks[@]}"; do
    while kill -0 "$task" 2>/dev/null; do wait "$task" && code=0 || code=$?; done
done
exit $code
"""
SLURM = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "localhost", "ENVIRONMENT": "BATCH", "SLURM_NTASKS": "2"}


def start(script, tmp_path, *words, **variables):
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    for name, text in (("srun", SRUN), ("scontrol", '#!/bin/sh\necho "$@" > "$TOOLS/requeued"\n')):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    path = os.pathsep.join((str(tools), os.path.dirname(sys.executable), os.environ["PATH"]))
    own = {"PATH": path, "PYTHONPATH": PATHS, "RANKS": "2", "OUT": str(tmp_path / "logs"), "TOOLS": str(tools)}
    command = ["bash", str(ROOT / "launch" / script), *map(str, words)]
    with open(tmp_path / "said", "w") as said:
        return subprocess.Popen(
            command, env={**ENVIRONMENT, **own, **variables}, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said
        )


def launch(script, tmp_path, *words, **variables):
    """The script's exit code, and what it said on stderr."""
    code = start(script, tmp_path, *words, **variables).wait(400)
    return code, (tmp_path / "said").read_text()


def processes_of(folder):
    """Processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in path.read_bytes():
                found.append(path.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "variables"), [("torchrun.sh", {}), ("deepspeed.sh", {"DS_ACCELERATOR": "cpu"}), ("slurm.sbatch", SLURM)]
)
def test_every_launcher_runs_the_whole_way(script, variables, tmp_path):
    if script == "deepspeed.sh" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")
    folder = tmp_path / "logs" / "search" / "a run"
    words = ["search", "a run", *TINY, "--max_steps"]
    process = start(script, tmp_path, *words, 40, **variables)
    wait_for_step(folder, 1, [process])
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    assert process.wait(60) == 75, (tmp_path / "said").read_text()[-3000:]
    assert time.monotonic() - begin < 30
    assert processes_of(tmp_path / "logs") == []
    assert (tmp_path / "bin" / "requeued").exists() == script.endswith(".sbatch")
    until = json.loads((folder / "REQUEUE").read_text())["step"] + 2
    code, said = launch(script, tmp_path, *words, "many", **variables)
    assert code not in (0, 75) and "--max_steps many" in said, said

    code, said = launch(script, tmp_path, *words, until, **variables)
    assert code == 0 and (folder / "DONE").exists(), said[-3000:]
    assert said.count(f" {until}/{until}") == 1  # one rank prints
    derived = run("derive", "--alphas", str(folder), "--op_threshold", "0.5", "--output", str(tmp_path / "found.json"))
    assert derived.returncode == 0, derived.stderr
    words = ["--arch", tmp_path / "found.json", "--dataset", "digits", "--epochs", 1, "--batch_size", 32]
    words += ["--init_channels", 4, "--max_steps", 3, "--report_freq", 1]
    code, said = launch(script, tmp_path, "train", "b", *words, **variables)
    weights = tmp_path / "logs" / "eval" / "b" / "last.safetensors"
    assert code == 0 and weights.exists(), said[-3000:]
    measured = run("evaluate", "--dataset", "digits", "--model_path", str(weights), "--json")
    assert json.loads(measured.stdout)["images"] == 360
    code, said = launch(script, tmp_path, "search", "a run", *TINY, **variables)
    assert code == 0 and "is finished" in said


def test_scripts_say_how_they_are_used_and_what_they_do_not_know(tmp_path):
    for script in ("torchrun.sh", "deepspeed.sh", "slurm.sbatch"):
        code, said = launch(script, tmp_path)
        assert code == 2 and f"launch/{script} search|train NAME" in said
        code, said = launch(script, tmp_path, "serch", "x")
        assert code == 2 and "serch: choose search or train" in said


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="ShellCheck is not installed")
def test_scripts_are_shellcheck_clean():
    scripts = sorted(str(path) for path in (ROOT / "launch").iterdir())
    found = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
