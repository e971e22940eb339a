"""The portable and AVX2 variants of the CPU kernels on a machine that would choose a better one.

The choice is made once per process, so each variant runs the contract in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddarts import _host

ROOT = Path(__file__).resolve().parents[2]
SELECTED = (
    "(test_contract and cpp and (offset or channels_last)) or (exact and cpp) or (specials and cpp) or test_asked"
)


def test_asked_for_variant_is_used() -> None:
    """Runs here with this machine's best, and in the children below with theirs."""
    order = ["default", "avx2", "avx512"]
    asked = os.environ.get("DDARTS_CPU_CAPABILITY", "avx512")
    assert order.index(_host.cpu_capability()) <= order.index(asked)


@pytest.mark.parametrize("variant", ["default", "avx2"])
def test_variant_keeps_the_contract(variant: str) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/ops", "-k", SELECTED],
        cwd=ROOT,
        env={**os.environ, "DDARTS_CPU_CAPABILITY": variant},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout[-3000:]
    assert " passed" in child.stdout


def test_unknown_variant_is_refused() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from ddarts import _host; _host.cpu_capability()"],
        cwd=ROOT,
        env={**os.environ, "DDARTS_CPU_CAPABILITY": "avx9000"},
        capture_output=True,
        text=True,
    )
    assert child.returncode != 0
    assert "DDARTS_CPU_CAPABILITY=avx9000: allowed are default, avx2, avx512" in child.stderr
