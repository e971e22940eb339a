"""What is shipped: the listed packages, the source distribution, the wheel, the CMake build."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import setup_helpers
from ddarts.ops import library

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LEAVE_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "logs", "*.so", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Output of a command that must succeed; its own errors are shown when it does not."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    child = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stdout[-2000:] + child.stderr[-4000:]
    return child.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout as a clone would be: nothing built."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("clone") / "ddarts", ignore=LEAVE_OUT))


def test_every_package_is_listed() -> None:
    found = {str(p.parent.relative_to(ROOT)).replace(os.sep, ".") for p in (ROOT / "ddarts").rglob("__init__.py")}
    kernels = ROOT / "kernels"
    for folder in (kernels, ROOT / "benchmarks"):
        found |= {str(p.parent.relative_to(folder)).replace(os.sep, ".") for p in folder.rglob("__init__.py")}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])
    assert not (kernels / "__init__.py").exists()  # a public package is called `kernels`


def test_required_dependencies_are_pinned() -> None:
    pins = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *(name for names in extras.values() for name in names)]
    assert {name.split(">=")[0] for name in wanted} <= pins
    required = {name.split(">=")[0] for name in PROJECT["project"]["dependencies"]}
    assert not required & {"deepspeed", "triton", "nvidia-dali-cuda130"}


def test_helpers_stay_small() -> None:
    assert len((ROOT / "setup_helpers.py").read_text().splitlines()) <= 200


def test_source_distribution_can_build(copy: Path) -> None:
    run(sys.executable, "setup.py", "-q", "sdist", cwd=copy)
    (archive,) = (copy / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob("*") if p.is_file()}
    zoo = {p.relative_to(ROOT).as_posix() for p in (ROOT / "ddarts/genotype/zoo").glob("*.json")}
    pages = {p.relative_to(ROOT).as_posix() for p in (ROOT / "ddarts/evaluate/report/templates").iterdir()}
    needed = {"setup.py", "setup_helpers.py", "CMakeLists.txt", "LICENSE", "constraints.txt", "tests/tolerances.py"}
    needed |= {"kernels/ddarts_kernels/mixed_sum/reference.py", "ddarts/ops/build_record.py"}
    assert sources and zoo and pages
    assert sources | zoo | pages | needed <= names
    assert not [name for name in names if name.endswith((".so", ".pyc", ".pth", ".tar"))]


@pytest.mark.parametrize(
    ("program", "environment", "message"),
    [
        ("why_no_cuda()", {"DDARTS_CUDA": "yes"}, "DDARTS_CUDA=yes: allowed are 0 and 1"),
        ("why_no_cuda()", {"DDARTS_CUDA": "1", "CUDA_HOME": "/nowhere"}, "DDARTS_CUDA=1: (nvcc is not found|torch .*)"),
        ("gencode()", {"TORCH_CUDA_ARCH_LIST": "8.0 Hopper"}, "TORCH_CUDA_ARCH_LIST has 'Hopper': allowed are numbers"),
    ],
)
def test_wish_for_cuda_is_answered(program: str, environment: dict[str, str], message: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", f"import setup_helpers; setup_helpers.{program}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 1
    assert re.search(message, child.stderr)


def test_cuda_is_left_out_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDARTS_CUDA", "0")
    record = setup_helpers.build_record()
    assert (record["cuda"], record["cuda_arch_list"]) == ("not built, DDARTS_CUDA=0", "")


def test_architectures_are_numbers_with_or_without_ptx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0a 10.0+PTX")
    assert setup_helpers.gencode() == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_100,code=sm_100",
        "-gencode=arch=compute_100,code=compute_100",
    ]


def test_cuda_library_is_built_where_it_can_be() -> None:
    """One that is not asked for otherwise: no GPU is needed."""
    built = library.find("_C_cuda") is not None
    told = library.read_record()
    assert told is not None
    assert built or told[0]["cuda"].startswith("not built, ")


WITH_CUDA = setup_helpers.why_no_cuda() is None
ONE_GPU = {"TORCH_CUDA_ARCH_LIST": "9.0"}  # compiles in a third of the time
PROGRAM = """
import torch, ddarts, ddarts.ops
from ddarts.ops.library import cuda_library, library
assert library().problem is None, library().problem
found = cuda_library()
assert found.path is None or not torch.version.cuda or "GPU" in (found.problem or "GPU"), found.problem
with ddarts.ops.use_backend("cpp"):
    assert ddarts.ops.mixed_sum([torch.ones(5), torch.ones(5)], torch.tensor([1.0, 2.0])).tolist() == [3.0] * 5
print(ddarts.__file__)
"""


@pytest.mark.slow
def test_wheel_works_away_from_the_checkout(copy: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(tmp_path), ".", cwd=copy, **ONE_GPU)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert ("ddarts/_C_cuda.abi3.so" in names) == WITH_CUDA
    assert "ddarts/_C.abi3.so" in names and any(name.startswith("ddarts/_host.") for name in names)
    assert {"ddarts_kernels/mixed_sum/reference.py", "ddarts_benchmarks/kernels.py"} <= set(names)
    assert any(name.startswith("ddarts/genotype/zoo/") for name in names)
    assert {f"ddarts/evaluate/report/templates/{name}" for name in ("page.html", "report.css")} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "csrc", "kernels", "benchmarks"))]
    run(*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel), cwd=tmp_path)
    where = run(sys.executable, "-c", PROGRAM, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert str(tmp_path / "site") in where


@pytest.mark.slow
def test_cmake_builds_the_same(copy: Path) -> None:
    folder = copy / "build" / "cmake"
    run("cmake", "-B", str(folder), "-G", "Ninja", f"-DPython_EXECUTABLE={sys.executable}", cwd=copy, **ONE_GPU)
    run("cmake", "--build", str(folder), cwd=copy)
    assert (library.find("_C_cuda", copy / "ddarts") is not None) == WITH_CUDA
    where = run(sys.executable, "-c", PROGRAM, cwd=copy, PYTHONPATH=f"{copy}{os.pathsep}{copy / 'kernels'}")
    assert str(copy) in where
