"""`make gpu-check`: what this project does on a GPU, in at most ten minutes.

    python benchmarks/gpu_check.py

Builds the compiled libraries in place, runs the tests of the operators and of recorded iterations, the quick benchmark
of the kernels, the fused search network with CUDA graphs and without (gpu_search.py), a short search, derivation and
training on digits by command line, and the table of the kernels' registers and spills. Each step has a time limit.
Without a GPU the same steps run on the CPU, and the summary says so. It needs no network and installs nothing: what a
step needs and is not there is named, and the step left out. Writes benchmarks/results/gpu-check.json and exits with 1
where a step that ran has failed.
"""

import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "gpu-check.json"
HIDDEN = ("first_failures", "table", "checked")  # details that are in the JSON alone
LINES = 30  # of a failed step's output that are kept
FAILURES = 10  # of the operators' tests whose messages are kept
TIME = 580  # seconds for everything
CLEARED = ("DDARTS_BACKEND", "DDARTS_CPU_CAPABILITY", "DDARTS_CUDA", "TRITON_INTERPRET")  # would change what runs
_COMMAND_LINE = ("torch", "numpy", "yaml", "rich", "safetensors", "torchvision", "sklearn", "tensorboard")


@dataclass(frozen=True)
class Step:
    """A command with its time limit in seconds. needs: modules that must be there; after: steps that must be ok;
    details: takes the lines it printed, returns what it found out; raises ValueError with what is wrong."""

    name: str
    command: list[str]
    limit: float
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    details: Callable[[list[str]], dict[str, Any]] = lambda lines: {}


@dataclass
class Done:
    """state: ok, failed or left out. output: the last lines, of a failure."""

    step: str
    state: str
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)


def main() -> None:
    """Runs what this machine can, writes the JSON after every step, prints a summary."""
    started = time.monotonic()
    device = find_device()
    missing_tests, tests = test_files()
    done: list[Done] = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        for step in steps(device, tests, Path(folder)):
            print(f"== {step.name}: at most {step.limit:.0f} s", flush=True)
            done.append(attempt(step, done, started))
            print(f"   {line(done[-1])}", flush=True)
            result = report(device, done, missing_tests, time.monotonic() - started)
    print(summary(result, done))
    sys.exit(any(item.state == "failed" for item in done))


def report(device: dict[str, Any], done: list[Done], missing_tests: list[str], seconds: float) -> dict[str, Any]:
    """What is known so far, also written to RESULT."""
    left_out = [f"{item.step}: {item.details['reason']}" for item in done if item.state == "left out"]
    if device["type"] == "cpu":
        left_out.append(f"everything on a GPU: {device['reason']}; the steps ran on the CPU")
    result = {
        "device": device,
        "python": sys.version.split()[0],
        "seconds": seconds,
        "steps": [asdict(item) for item in done],
        "left_out": [*left_out, *missing_tests],
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return result


def find_device() -> dict[str, Any]:
    """The GPU that torch sees, or why there is none."""
    if importlib.util.find_spec("torch") is None:
        return {"type": "cpu", "name": "none", "torch": "not installed", "reason": "torch is not installed"}
    import torch

    about = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if not torch.cuda.is_available():
        reason = "torch sees no GPU" if torch.version.cuda else "this torch is built without CUDA"
        return {"type": "cpu", "name": "none", **about, "reason": reason}
    major, minor = torch.cuda.get_device_capability()
    return {"type": "cuda", "name": torch.cuda.get_device_name(), "capability": f"{major}.{minor}", **about}


def test_files() -> tuple[list[str], list[str]]:
    """(a line where some of the operators' tests cannot run, the options of pytest that run the others)."""
    options = ["tests/ops", "tests/unit/search/test_replay.py", "tests/unit/supernet/test_fused_triton.py"]
    if importlib.util.find_spec("xdist"):
        options += ["-n", str(min(8, os.cpu_count() or 1))]  # one GPU serves them all
    if importlib.util.find_spec("hypothesis"):
        return [], options
    ignored = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests" / "ops").glob("test_*.py"))
        if "import hypothesis" in path.read_text() or "from hypothesis" in path.read_text()
    ]
    line = f"{len(ignored)} files of tests, since hypothesis is not installed: {', '.join(ignored)}"
    return [line], [*options, *(f"--ignore={path}" for path in ignored)]


def steps(device: dict[str, Any], tests: list[str], folder: Path) -> Iterable[Step]:
    """Everything, in order; `folder` takes what is not kept."""
    python, kind = sys.executable, device["type"]
    ddarts = [python, "-m", "ddarts"]
    report = folder / "tests.xml"
    build = [python, "setup.py", "build_ext", "--inplace"]
    yield Step("build", build, 200, ("torch", "setuptools", "pybind11"), environment=build_environment(device))
    info = [*ddarts, "info", "--json"]
    yield Step("backends", info, 30, ("torch",), details=lambda lines: backends(lines, kind))
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, f"--junitxml={report}"]
    yield Step("operator tests", pytest, 270, ("pytest",), details=lambda lines: count_tests(report))
    bench = [*ddarts, "bench", "kernels", "--quick", "--json", "--device", kind, "--output", str(RESULT.parent)]
    yield Step("bench kernels", bench, 120, ("torch", "numpy", "matplotlib"), details=speeds)
    timed = RESULT.with_name("gpu-search.json")
    small = ["--small"] if kind == "cpu" else []
    search = [python, str(ROOT / "benchmarks" / "gpu_search.py"), "--device", kind, *small, "--json", str(timed)]
    yield Step("search iterations", search, 150, ("torch", "numpy", "matplotlib"), details=lambda lines: timings(timed))
    yield from commands(ddarts, kind, folder)
    loaders = [python, str(ROOT / "benchmarks" / "gpu_data.py"), "--device", kind]
    yield Step("data by DALI", loaders, 120, ("torch", "torchvision", "sklearn"), details=printed_object)
    table = ROOT / "benchmarks" / "gpu_resources.py"
    if table.exists():
        triton = ("torch", "triton")
        yield Step("registers and spills", [python, str(table)], 120, triton, details=lambda lines: {"table": lines})


def commands(ddarts: list[str], kind: str, folder: Path) -> Iterable[Step]:
    """A search, a derivation and a training, a few steps each."""
    on_digits = ["--dataset", "digits", "--device", kind, "--out", str(folder), "--epochs", "1", "--max_steps", "4"]
    run, trained, genotype = folder / "search" / "check", folder / "eval" / "check", folder / "genotype.json"
    small = ["--layers", "3", "--init_channels", "8", "--batch_size", "32", "--save", "check"]
    search = [*ddarts, "search", *on_digits, *small]
    derive = [*ddarts, "derive", "--alphas", str(run), "--parse_method", "darts", "--output", str(genotype)]
    train = [*ddarts, "train", *on_digits, "--arch", str(genotype), "--init_channels", "8", "--save", "check"]
    yield Step("search", search, 120, _COMMAND_LINE, details=lambda lines: finished(run / "DONE"))
    yield Step("derive", derive, 30, _COMMAND_LINE, ("search",), details=lambda lines: finished(genotype))
    yield Step("train", train, 60, _COMMAND_LINE, ("derive",), details=lambda lines: finished(trained / "DONE"))


def build_environment(device: dict[str, Any]) -> dict[str, str]:
    """On a GPU the CUDA library is demanded, for this GPU; elsewhere it is left out."""
    if device["type"] == "cpu":
        return {"DDARTS_CUDA": "0"}
    wish = {"DDARTS_CUDA": "1", "TORCH_CUDA_ARCH_LIST": device["capability"]}
    homes = [os.environ.get("CUDA_HOME"), f"/usr/local/cuda-{device['cuda']}", "/usr/local/cuda"]
    home = next((home for home in homes if home and (Path(home) / "bin" / "nvcc").exists()), None)
    return {**wish, "CUDA_HOME": home} if home else wish


def printed_object(lines: list[str]) -> dict[str, Any]:
    """The JSON object that a command with --json prints among its messages; empty where there is none."""
    return json.loads(next((text for text in lines if text.startswith("{")), "{}"))


def backends(lines: list[str], kind: str) -> dict[str, Any]:
    """Which implementations are there; on a GPU, the CUDA one must be, and Triton's where Triton is installed."""
    found = printed_object(lines).get("operators", [])
    there = sorted({row["backend"] for row in found if row["available"]})
    wanted = {"cuda", "triton"} if importlib.util.find_spec("triton") else {"cuda"}
    missing = sorted(wanted - set(there)) if kind == "cuda" else []
    if missing:
        notes = {row["backend"]: row["note"] for row in found}
        raise ValueError("; ".join(f"{name}: {notes.get(name, 'unknown')}" for name in missing))
    return {"available": there}


def speeds(lines: list[str]) -> dict[str, Any]:
    """Where the results are, and for each contestant the median over the rows of how many times faster it is."""
    found = printed_object(lines)
    rated = [(row["contestant"], row["ratio"]["median"]) for row in found.get("results", []) if row["ratio"]]
    faster = {name: [ratio for other, ratio in rated if other == name] for name in sorted(dict(rated))}
    return {"file": found.get("path"), "times_faster": {k: round(statistics.median(v), 2) for k, v in faster.items()}}


def timings(path: Path) -> dict[str, Any]:
    """Milliseconds of a search iteration by contestant, and hours of a search extrapolated from them."""
    return {**finished(path), "file": str(path), **json.loads(path.read_text())["summary"]}


def count_tests(report: Path) -> dict[str, Any]:
    """How many tests ran, and what the first that failed say; ValueError where pytest did not get as far."""
    suite = ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
    if suite is None:
        raise ValueError("pytest wrote no report")
    counts: dict[str, Any] = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    failed = [
        f"{case.attrib['name']}: {' '.join(problem.attrib.get('message', '').split())[:200]}"
        for case in suite.iter("testcase")
        for problem in case
        if problem.tag in ("failure", "error")
    ]
    return {**counts, "first_failures": failed[:FAILURES]} if failed else counts


def finished(path: Path) -> dict[str, Any]:
    """Nothing, where the file that marks the end is there."""
    if not path.exists():
        raise ValueError(f"{path.name} is missing")
    return {}


def attempt(step: Step, before: list[Done], started: float) -> Done:
    """Runs a step, or says why not."""
    remaining = TIME - (time.monotonic() - started)
    reason = obstacle(step, before, remaining)
    if reason:
        return Done(step.name, "left out", details={"reason": reason})
    code, lines, seconds = run(step.command, min(step.limit, remaining), step.environment)
    details: dict[str, Any] = {"exit_code": code}
    try:
        details.update(step.details(lines))
    except ValueError as error:
        details["problem"] = str(error)
    if code == 0 and "problem" not in details:
        return Done(step.name, "ok", seconds, details)
    return Done(step.name, "failed", seconds, details, lines[-LINES:])


def obstacle(step: Step, before: list[Done], remaining: float) -> str:
    """Why a step cannot run, or an empty text."""
    missing = [module for module in step.needs if importlib.util.find_spec(module) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    succeeded = {done.step for done in before if done.state == "ok"}
    unmet = [name for name in step.after if name not in succeeded]
    if unmet:
        return f"{unmet[0]} did not succeed"
    return f"the {TIME} seconds are used up" if remaining < 1 else ""


def run(command: list[str], limit: float, extra: dict[str, str]) -> tuple[int, list[str], float]:
    """(exit code, lines printed, seconds). After `limit` seconds it is killed with all that it started."""
    paths = [ROOT, ROOT / "kernels", ROOT / "benchmarks", *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name not in CLEARED}
    kept.setdefault("OMP_NUM_THREADS", "1")  # two threads on busy cores can be slower than one, by far
    environment = {**kept, "PYTHONPATH": os.pathsep.join(map(str, paths)), **extra}
    started = time.monotonic()
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output = f"{child.communicate()[0]}\nkilled after {limit:.0f} s"
    return child.returncode, output.splitlines(), time.monotonic() - started


def line(done: Done) -> str:
    """What became of a step."""
    shown = {key: value for key, value in done.details.items() if key not in HIDDEN}
    details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())
    return f"{done.state:<8}  {done.seconds:5.1f} s  {details}"


def summary(result: dict[str, Any], done: list[Done]) -> str:
    """One line for each step; the last lines of what failed; what was left out."""
    device = result["device"]
    lines = ["", f"device: {device['name']}, torch {device['torch']}, {result['seconds']:.0f} s"]
    for item in done:
        lines.append(f"{item.step:<22}{line(item)}")
        lines += [f"    {text}" for text in item.output]
    lines += [f"left out: {text}" for text in result["left_out"]]
    return "\n".join([*lines, f"written: {RESULT.relative_to(ROOT)}"])


if __name__ == "__main__":
    main()
