"""How the compiled parts of ddarts are built: sources, flags and build record, in one place.

setup.py (for users) and CMakeLists.txt (for C++ developers) both take everything from here. Environment: the CUDA
library is built where torch has CUDA and nvcc is found (CUDA_HOME), needing no GPU; DDARTS_CUDA=0/1 leaves it out or
demands it, TORCH_CUDA_ARCH_LIST chooses its architectures. CXXFLAGS adds flags.
"""

import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
# Run by path: importing the package would need its dependencies.
_RECORD = runpy.run_path(str(ROOT / "ddarts" / "ops" / "build_record.py"))

TORCH_TARGET = "2.11"  # oldest torch the library loads on

CXX_STANDARD = 20
CXX_FLAGS = ["-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter", f"-ffile-prefix-map={ROOT}=."]
# Never -march=native: the instruction set is chosen at run time (csrc/common/capability.h).
STABLE_DEFINES = ["TORCH_TARGET_VERSION=0x020b000000000000", "Py_LIMITED_API=0x030a0000"]

CUDA_ARCHITECTURES = "8.0 9.0 10.0+PTX"  # A100, H100, B200, and by PTX what comes after
NVCC_FLAGS = ["-O3", "--expt-relaxed-constexpr", "-DUSE_CUDA", f"-D{STABLE_DEFINES[0]}"]
NVCC_FLAGS += [f"-Xcompiler={flag}" for flag in CXX_FLAGS[1:]]


def _sources(folder: str, suffix: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (CSRC / folder).glob(f"*{suffix}"))


CPU_SOURCES = ["csrc/register_cpu.cpp", *_sources("cpu", ".cpp")]
CUDA_REGISTRATION = "csrc/register_cuda.cpp"
HOST_SOURCES = ["csrc/bindings.cpp"]


def cuda_sources() -> list[str]:
    """The kernels of the `_C_cuda` library."""
    return _sources("cuda", ".cu")


def cuda_flags() -> list[str]:
    """nvcc's flags, but for architectures and include folders."""
    return [f"-std=c++{CXX_STANDARD}", *NVCC_FLAGS]


def cuda_architectures() -> list[str]:
    """TORCH_CUDA_ARCH_LIST, or the default: numbers such as 9.0, each perhaps with +PTX."""
    return re.findall(r"[^ ;,]+", os.environ.get("TORCH_CUDA_ARCH_LIST") or CUDA_ARCHITECTURES)


def gencode() -> list[str]:
    """nvcc's flags for cuda_architectures()."""
    found = []
    for entry in cuda_architectures():
        match = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", entry)
        if match is None:
            raise SystemExit(f"TORCH_CUDA_ARCH_LIST has {entry!r}: allowed are numbers such as 9.0 or 9.0+PTX")
        number = match[1] + match[2]
        codes = [f"sm_{number}", f"compute_{number}"] if match[3] else [f"sm_{number}"]
        found += [f"-gencode=arch=compute_{number},code={code}" for code in codes]
    return found


def cuda_home() -> Path | None:
    """The CUDA toolkit: CUDA_HOME, else where the nvcc on the path belongs, else /usr/local/cuda."""
    beside = Path(shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc").resolve().parents[1]
    named = os.environ.get("CUDA_HOME")
    homes = [Path(named)] if named else [beside, Path("/usr/local/cuda")]
    return next((home for home in homes if (home / "include" / "cuda_runtime.h").exists()), None)


def _cuda_problem() -> str | None:
    import torch

    home, wanted = cuda_home(), torch.version.cuda
    if wanted is None:
        return f"torch {torch.__version__} is built without CUDA"
    if home is None or not (home / "bin" / "nvcc").exists():
        return "nvcc is not found, set CUDA_HOME"
    text = subprocess.run([home / "bin" / "nvcc", "--version"], capture_output=True, text=True).stdout
    fits = f"release {wanted.split('.')[0]}." in text
    return None if fits else f"torch is built for CUDA {wanted}, the nvcc in {home} is of another version"


def why_no_cuda() -> str | None:
    """None if the CUDA library is to be built, else why not; SystemExit if DDARTS_CUDA=1 demands it in vain."""
    wish = os.environ.get("DDARTS_CUDA", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"DDARTS_CUDA={wish}: allowed are 0 and 1")
    problem = "DDARTS_CUDA=0" if wish == "0" else _cuda_problem()
    if wish == "1" and problem is not None:
        raise SystemExit(f"DDARTS_CUDA=1: {problem}")
    return problem


def dependencies() -> list[str]:
    """Every file whose change must rebuild every extension."""
    files = [path.relative_to(ROOT).as_posix() for path in _RECORD["source_files"](CSRC)]
    return [*files, "setup_helpers.py"]


def flags() -> list[str]:
    """Compiler flags of every C++ source."""
    return [f"-std=c++{CXX_STANDARD}", *CXX_FLAGS]


def build_record() -> dict[str, str]:
    """What the library remembers of its build; the compiler adds its own version and ABI."""
    import torch

    machine = platform.machine()
    variants = "default, avx2, avx512 at run time" if machine in ("x86_64", "AMD64") else "default"
    cxx, nvcc = (" ".join(flag for flag in found if "prefix-map" not in flag) for found in (flags(), cuda_flags()))
    reason = why_no_cuda()
    return {
        "torch": torch.__version__,
        "torch_target": TORCH_TARGET,
        "flags": " ".join([cxx, *(f"-D{define}" for define in STABLE_DEFINES)]),
        "arch_list": f"{machine}: {variants}",
        "cuda_arch_list": " ".join(cuda_architectures()) if reason is None else "",
        "cuda": f"not built, {reason}" if reason else f"nvcc {nvcc}",
    }


def write_build_header(folder: Path) -> Path:
    """Writes ddarts_build_record.h into `folder`, only when its content changes; returns the folder."""
    pairs = "".join(f'    {{"{key}", "{value}"}},\n' for key, value in build_record().items())
    text = (
        "// Written by setup_helpers.py.\n#pragma once\n"
        f'#define DDARTS_SOURCE_HASH "{_RECORD["source_hash"](CSRC)}"\n'
        "namespace ddarts {\nstruct BuildFact {\n  const char* key;\n  const char* value;\n};\n"
        f"inline constexpr BuildFact kBuildRecord[] = {{\n{pairs}}};\n}}  // namespace ddarts\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    header = folder / "ddarts_build_record.h"
    if not header.exists() or header.read_text() != text:
        header.write_text(text)
    return folder


def extensions() -> tuple[list, dict]:
    """(ext_modules, cmdclass): `ddarts._C`, perhaps `ddarts._C_cuda` (stable ABI), and `ddarts._host` (pybind11)."""
    import pybind11
    from setuptools import Extension

    with_cuda = why_no_cuda() is None
    if with_cuda:
        os.environ["CUDA_HOME"] = str(cuda_home())  # what torch guesses when it is imported may be wrong
    from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

    generated = str(write_build_header(ROOT / "build" / "generated"))
    depends = [*dependencies(), "build/generated/ddarts_build_record.h"]
    common: dict = {"include_dirs": [generated], "depends": depends, "extra_compile_args": flags()}
    macros = [tuple(STABLE_DEFINES[0].split("="))]  # py_limited_api adds the other one itself
    stable = {**common, "define_macros": macros, "py_limited_api": True}
    found = [CppExtension("ddarts._C", CPU_SOURCES, **stable)]
    if with_cuda:
        stable["extra_compile_args"] = {"cxx": flags(), "nvcc": [*cuda_flags(), *gencode()]}
        found.append(CUDAExtension("ddarts._C_cuda", [CUDA_REGISTRATION, *cuda_sources()], **stable))
    common["include_dirs"] = [generated, pybind11.get_include()]
    found.append(Extension("ddarts._host", HOST_SOURCES, language="c++", **common))
    return found, {"build_ext": BuildExtension}


def cmake_settings(generated: Path) -> str:
    """The same settings as CMake `set` lines; CMakeLists.txt includes them."""
    import pybind11
    from torch.utils.cpp_extension import include_paths, library_paths

    cuda = why_no_cuda() is None
    lists = {
        "DDARTS_CPU_SOURCES": CPU_SOURCES,
        "DDARTS_CUDA_SOURCES": [CUDA_REGISTRATION, *cuda_sources()] if cuda else [],
        "DDARTS_CUDA_HOME": [str(cuda_home())] if cuda else [],
        "DDARTS_CUDA_FLAGS": [*NVCC_FLAGS, *gencode()] if cuda else [],
        "DDARTS_HOST_SOURCES": HOST_SOURCES,
        "DDARTS_CXX_FLAGS": CXX_FLAGS,
        "DDARTS_STABLE_DEFINES": STABLE_DEFINES,
        "DDARTS_TORCH_INCLUDES": include_paths(),
        "DDARTS_TORCH_LIBRARY_DIRS": library_paths(),
        "DDARTS_PYBIND11_INCLUDES": [pybind11.get_include()],
        "DDARTS_GENERATED": [str(write_build_header(generated))],
        "DDARTS_CXX_STANDARD": [str(CXX_STANDARD)],
    }
    return "".join(f'set({name} "{";".join(values)}")\n' for name, values in lists.items())


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "cmake":
        raise SystemExit("usage: python setup_helpers.py cmake GENERATED_FOLDER")
    print(cmake_settings(Path(sys.argv[2])), end="")
