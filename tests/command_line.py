"""The command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = os.pathsep.join(str(ROOT / part) for part in ("", "kernels", "benchmarks"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}


def run(*words, **details):
    """A real process: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "ddarts", *words]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, **details)


def fail(error):
    """Work that raises `error`."""

    def work():
        raise error

    return work
