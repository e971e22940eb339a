"""`make gpu-check`: the operator tests on this machine, and what a GPU adds; writes benchmarks/results/gpu-check.json.

This version has no CUDA or Triton kernels, so on a GPU it checks that the reference backend runs there and agrees with
the CPU in float64. The summary says what was left out and why.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

import ddarts.ops

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "gpu-check.json"
NO_KERNELS = "no CUDA or Triton kernels in this version"


def op_tests(report: Path) -> dict[str, int]:
    """Runs tests/ops; counts of tests, failures and errors, and pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/ops", f"--junitxml={report}"]
    code = subprocess.run(command, cwd=ROOT).returncode
    if not report.exists():  # pytest did not get as far as running anything
        return {"exit_code": code}
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    return {"exit_code": code, **{key: int(suite.attrib[key]) for key in ("tests", "failures", "errors")}}


def reference_on_gpu() -> float:
    """Largest difference between mixed_sum on the GPU and on the CPU, relative to the largest value."""
    inputs, weights = [torch.randn(4, 16, 32, 32, dtype=torch.float64) for _ in range(7)], torch.rand(7).double()
    here = ddarts.ops.mixed_sum(inputs, weights)
    there = ddarts.ops.mixed_sum([x.cuda() for x in inputs], weights.cuda()).cpu()
    return ((here - there).abs().max() / here.abs().max()).item()


def main() -> None:
    """Runs what this machine can, writes the JSON, prints a summary."""
    found = torch.cuda.is_available()
    result: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name() if found else "no GPU found",
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "op_tests": op_tests(ROOT / "build" / "gpu-check-tests.xml"),
        "backends": [row._asdict() for row in ddarts.ops.table()],
        "left_out": [f"tests and benchmarks of GPU kernels: {NO_KERNELS}"],
    }
    agrees = True
    if found:
        result["reference_gpu_against_cpu"] = reference_on_gpu()
        agrees = result["reference_gpu_against_cpu"] < 1e-12
    else:
        result["left_out"].append("the reference backend on a GPU: no GPU found")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"GPU: {result['gpu']}; operator tests: {result['op_tests']}; left out: {'; '.join(result['left_out'])}")
    print(f"written: {RESULT.relative_to(ROOT)}")
    sys.exit(result["op_tests"]["exit_code"] or not agrees)


if __name__ == "__main__":
    main()
