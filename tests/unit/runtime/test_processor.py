"""Settings of the process that keep the CPU busy with work."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from ddarts.runtime.processor import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import numpy as np
def touch():
    for _ in range(3):
        np.ones(8 << 20)  # 64 MiB, above the 32 MiB up to which glibc learns by itself
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_kept_memory_is_not_faulted_in_again():
    faults = {}
    for mode in ("keep", "default"):
        run = [sys.executable, "-c", CODE, mode]
        faults[mode] = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert faults["keep"] * 10 < faults["default"]


def test_how_to_wait_is_the_user_s_choice_first(monkeypatch):
    from ddarts.runtime.processor import spin_briefly

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    spin_briefly()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    spin_briefly()
    assert os.environ.pop("GOMP_SPINCOUNT") == "10000"
