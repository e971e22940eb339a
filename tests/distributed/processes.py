"""Ranks as processes of this machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

from command_line import ENVIRONMENT, ROOT

from ddarts.runtime.ranks.discovery import free_port

PATIENCE = 240  # seconds for anything here on a busy machine
TINY = [
    *("--dataset", "digits", "--epochs", "2", "--batch_size", "16", "--init_channels", "2", "--layers", "3"),
    *("--steps", "2", "--multiplier", "2", "--report_freq", "1", "--check_ranks_every", "1"),
    *("--arch_learning_rate", "0.9", "--arch_learning_rate_min", "0.9"),
]
PATHS = os.pathsep.join(str(ROOT / part) for part in ("", "kernels", "tests"))


def start(size, command, log, **variables):
    """`size` processes of `command` with torchrun's variables; each writes all it prints to `log`-RANK."""
    common = {**ENVIRONMENT, "PYTHONPATH": PATHS, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    common |= {"MASTER_PORT": str(free_port()), **variables}
    found = []
    for rank in range(size):
        with open(f"{log}-{rank}", "w") as file:
            own = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            found.append(subprocess.Popen(command, env=own, stdout=file, stderr=subprocess.STDOUT))
    return found


def ddarts(*words):
    """The command line `ddarts WORDS`."""
    return [sys.executable, "-m", "ddarts", *map(str, words)]


def codes(processes, patience=PATIENCE):
    """Exit codes of all; those that are not done in time are killed, and their code is None."""
    end = time.monotonic() + patience
    found = []
    for process in processes:
        try:
            found.append(process.wait(max(0.1, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            found.append(None)
    return found


def wait_for_step(run_dir, step, processes):
    """Until metrics.jsonl has a row of `step`."""
    path, end = Path(run_dir) / "metrics.jsonl", time.monotonic() + PATIENCE
    while not (path.exists() and f'"step": {step},' in path.read_text()):
        assert time.monotonic() < end and all(process.poll() is None for process in processes)
        time.sleep(0.1)
