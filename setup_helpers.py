"""How the compiled parts of ddarts are built: sources, flags and build record, in one place.

setup.py (for users) and CMakeLists.txt (for C++ developers) both take everything from here. Environment:
DDARTS_CUDA=0/1 leaves out or demands the CUDA library, TORCH_CUDA_ARCH_LIST chooses its architectures, CXXFLAGS adds
flags. Nothing depends on a GPU being present while building.
"""

import importlib.util
import os
import platform
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"

TORCH_TARGET = "2.11"  # oldest torch the library loads on
PYTHON_TARGET = "0x030a0000"  # Py_LIMITED_API

CXX_STANDARD = 20
CXX_FLAGS = ["-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter", f"-ffile-prefix-map={ROOT}=."]
# Never -march=native: the instruction set is chosen at run time (csrc/common/capability.h).
STABLE_DEFINES = ["TORCH_TARGET_VERSION=0x020b000000000000", f"Py_LIMITED_API={PYTHON_TARGET}"]


def _sources(folder: str, suffix: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (CSRC / folder).glob(f"*{suffix}"))


CPU_SOURCES = ["csrc/register_cpu.cpp", *_sources("cpu", ".cpp")]
HOST_SOURCES = ["csrc/bindings.cpp"]


def cuda_sources() -> list[str]:
    """CUDA sources of the `_C_cuda` library; empty in a version without CUDA kernels."""
    return _sources("cuda", ".cu")


def check_cuda_wish() -> None:
    """DDARTS_CUDA=1 is an error while there is nothing to build."""
    wish = os.environ.get("DDARTS_CUDA", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"DDARTS_CUDA={wish}: allowed are 0 and 1")
    if wish == "1" and not cuda_sources():
        raise SystemExit("DDARTS_CUDA=1: this version has no CUDA kernels; unset DDARTS_CUDA or set it to 0")


def _build_record_module() -> ModuleType:
    """ddarts/ops/build_record.py, loaded by path: importing the package would need its dependencies."""
    path = ROOT / "ddarts" / "ops" / "build_record.py"
    spec = importlib.util.spec_from_file_location("ddarts_build_record", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dependencies() -> list[str]:
    """Every file whose change must rebuild both extensions."""
    files = [path.relative_to(ROOT).as_posix() for path in _build_record_module().source_files(CSRC)]
    return [*files, "setup_helpers.py"]


def flags() -> list[str]:
    """Compiler flags of every C++ source."""
    return [f"-std=c++{CXX_STANDARD}", *CXX_FLAGS]


def build_record() -> dict[str, str]:
    """What the library remembers of its build; the compiler adds its own version and ABI."""
    import torch

    machine = platform.machine()
    variants = "default, avx2, avx512 at run time" if machine in ("x86_64", "AMD64") else "default"
    recorded = [flag for flag in flags() if not flag.startswith("-ffile-prefix-map")]
    return {
        "torch": torch.__version__,
        "torch_target": TORCH_TARGET,
        "flags": " ".join(recorded + [f"-D{define}" for define in STABLE_DEFINES]),
        "arch_list": f"{machine}: {variants}; cuda: none",
    }


def write_build_header(folder: Path) -> Path:
    """Writes ddarts_build_record.h into `folder`, only when its content changes; returns the folder."""
    pairs = "".join(f'    {{"{key}", "{value}"}},\n' for key, value in build_record().items())
    text = (
        "// Written by setup_helpers.py.\n#pragma once\n"
        f'#define DDARTS_SOURCE_HASH "{_build_record_module().source_hash(CSRC)}"\n'
        "namespace ddarts {\nstruct BuildFact {\n  const char* key;\n  const char* value;\n};\n"
        f"inline constexpr BuildFact kBuildRecord[] = {{\n{pairs}}};\n}}  // namespace ddarts\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    header = folder / "ddarts_build_record.h"
    if not header.exists() or header.read_text() != text:
        header.write_text(text)
    return folder


def extensions() -> tuple[list, dict]:
    """(ext_modules, cmdclass) for setup(): `ddarts._C` (stable ABI) and `ddarts._host` (pybind11)."""
    import pybind11
    from setuptools import Extension
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    check_cuda_wish()
    generated = str(write_build_header(ROOT / "build" / "generated"))
    common = {"depends": [*dependencies(), "build/generated/ddarts_build_record.h"], "extra_compile_args": flags()}
    library = CppExtension(
        "ddarts._C",
        CPU_SOURCES,
        include_dirs=[generated],
        define_macros=[tuple(define.split("=", 1)) for define in STABLE_DEFINES[:1]],
        py_limited_api=True,  # adds Py_LIMITED_API itself
        **common,
    )
    host = Extension(
        "ddarts._host", HOST_SOURCES, include_dirs=[generated, pybind11.get_include()], language="c++", **common
    )
    return [library, host], {"build_ext": BuildExtension}


def cmake_settings(generated: Path) -> str:
    """The same settings as CMake `set` lines; CMakeLists.txt includes them."""
    import pybind11
    from torch.utils.cpp_extension import include_paths, library_paths

    check_cuda_wish()
    lists = {
        "DDARTS_CPU_SOURCES": CPU_SOURCES,
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
