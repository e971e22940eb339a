"""Registers, shared memory and spills of every GPU kernel, compiled ahead of time: no GPU is needed.

    python benchmarks/gpu_resources.py [--require triton,cuda] [--json FILE]

Triton kernels are compiled as the functions of the backend launch them, for representative calls (`ahead_of_time` in
ddarts_kernels.<op>.triton_impl); csrc/cuda/*.cu with the flags of the build, where nvcc is found. Both for sm_80, sm_90
and sm_100. What cannot be compiled here is said in a line "left out: ...". The exit code is 1 where anything spills,
where what --require names is left out, and where nothing was compiled at all.
"""

import argparse
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = (80, 90, 100)
# Each with ddarts_kernels.<op>.triton_impl:ahead_of_time.
TRITON_OPERATORS = ("mixed_sum", "pools", "stage", "threshold")


class Resources(NamedTuple):
    """What one kernel takes of one architecture; shared and spilled are bytes, spilled is stores plus loads."""

    backend: str
    kernel: str
    call: str
    arch: int
    registers: int
    shared: int
    spilled: int


def main(arguments: list[str] | None = None) -> int:
    """Compiles, prints the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument(
        "--require",
        type=_backends,
        default=[],
        metavar="BACKENDS",
        help="triton, cuda or both, with a comma: must compile",
    )
    options = parser.parse_args(arguments)
    found: list[Resources] = []
    left_out: dict[str, str] = {}
    for backend, compile_all in (("triton", triton_kernels), ("cuda", cuda_kernels)):
        try:
            found += compile_all()
        except NotHereError as reason:
            left_out[backend] = str(reason)
    print("\n".join(table(found)))
    for reason in left_out.values():
        print(f"left out: {reason}")
    if options.json is not None:
        content = {"kernels": [kernel._asdict() for kernel in found], "left_out": list(left_out.values())}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    complaints = spills(found) + [f"--require {name}: {left_out[name]}" for name in options.require if name in left_out]
    if not found:
        complaints.append("no kernel was compiled")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def _backends(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= {"triton", "cuda"}:
        raise argparse.ArgumentTypeError(f"{text}: allowed are triton, cuda and triton,cuda")
    return names


class NotHereError(Exception):
    """Why a backend's kernels cannot be compiled here."""


def spills(kernels: list[Resources]) -> list[str]:
    """A line for every kernel that spills registers."""
    return [
        f"{k.backend} kernel {k.kernel} ({k.call or 'every call'}, sm_{k.arch}) spills {k.spilled} bytes"
        for k in kernels
        if k.spilled
    ]


def table(kernels: list[Resources]) -> list[str]:
    """One line for each kernel and call, the architectures side by side."""
    head = ("kernel", "call", *(f"sm_{arch}: reg, shared, spill" for arch in ARCHITECTURES))
    lines: dict[tuple[str, str], dict[int, str]] = {}
    for k in kernels:
        numbers = f"{k.registers:4} {k.shared:6} {k.spilled:4}"
        lines.setdefault((f"{k.backend} {k.kernel}", k.call), {})[k.arch] = numbers
    cells = [head, *((*name, *(by_arch.get(arch, "-") for arch in ARCHITECTURES)) for name, by_arch in lines.items())]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


# What ptxas -v prints of a kernel, after "Compiling entry function 'name' for 'sm_90a'".
_ENTRY = re.compile(r"Compiling entry function '(?P<name>[^']+)' for 'sm_(?P<arch>\d+)[af]?'")
_SPILLS = re.compile(r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads")
_USED = re.compile(r"Used (?P<registers>\d+) registers(?:.*?(?P<shared>\d+) bytes smem)?")


def read_ptxas(report: str, backend: str = "cuda", call: str = "") -> list[Resources]:
    """The kernels that ptxas -v (or nvcc -Xptxas=-v) reports."""
    found = []
    for part in re.split(r"(?=Compiling entry function)", report)[1:]:
        entry, spilled, used = (pattern.search(part) for pattern in (_ENTRY, _SPILLS, _USED))
        if entry is None or spilled is None or used is None:
            raise ValueError(f"ptxas reports in a way that is not understood: {part[:500]}")
        total = int(spilled["stores"]) + int(spilled["loads"])
        numbers = int(used["registers"]), int(used["shared"] or 0), total
        found.append(Resources(backend, entry["name"], call, int(entry["arch"]), *numbers))
    return found


def triton_kernels() -> Iterator[Resources]:
    """Every kernel of TRITON_OPERATORS, each specialisation once."""
    os.environ.pop("TRITON_INTERPRET", None)  # Triton asks when it is imported
    if importlib.util.find_spec("triton") is None:
        raise NotHereError("Triton kernels: Triton is not installed")
    sys.path.insert(0, str(ROOT / "kernels"))
    seen = set()
    for operator in TRITON_OPERATORS:
        home = importlib.import_module(f"ddarts_kernels.{operator}.triton_impl")
        for call, launch in home.ahead_of_time():
            signature, constants, attributes = specialisation(launch.kernel, launch.arguments)
            key = repr((launch.kernel.__name__, signature, constants, attributes, launch.options))
            if key not in seen:
                seen.add(key)
                source = launch.kernel, signature, constants, attributes
                yield from (compile_triton(source, launch.options, f"{operator} {call}", a) for a in ARCHITECTURES)


def specialisation(kernel: Any, arguments: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[Any, Any]]:
    """(types, constants, divisibilities) that Triton compiles `kernel` for when it is given `arguments`."""
    import torch
    from triton.runtime.jit import mangle_type

    signature: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    attributes = {}
    for at, parameter in enumerate(kernel.params):
        name, value = parameter.name, arguments[parameter.name]
        general = parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1 and not general):
            signature[name], constants[name] = "constexpr", value
            continue
        if isinstance(value, tuple):
            signature[name] = tuple(map(mangle_type, value))
        else:
            signature[name] = parameter.annotation_type or mangle_type(value)
        start = value.data_ptr() if isinstance(value, torch.Tensor) else value
        if isinstance(start, int) and start % 16 == 0 and not general:
            attributes[(at,)] = [["tt.divisibility", 16]]
    return signature, constants, attributes


def compile_triton(source: tuple[Any, ...], options: dict[str, int], call: str, arch: int) -> Resources:
    """Compiles one specialisation; its PTX goes through ptxas once more, for the report that Triton drops."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import get_ptxas
    from triton.compiler import ASTSource

    compiled = triton.compile(ASTSource(*source), target=GPUTarget("cuda", arch, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "kernel.ptx"
        text.write_text(compiled.asm["ptx"])
        target = re.search(r"\.target (sm_\w+)", compiled.asm["ptx"])
        assert target is not None
        command = [get_ptxas(arch).path, "-v", f"--gpu-name={target[1]}", text, "-o", f"{folder}/kernel.cubin"]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    (kernel,) = read_ptxas(report, "triton", call)
    return kernel._replace(shared=compiled.metadata.shared)  # dynamic, so ptxas does not know it


def cuda_kernels() -> Iterator[Resources]:
    """Every kernel of csrc/cuda."""
    sys.path.insert(0, str(ROOT))
    import setup_helpers

    sources = setup_helpers.cuda_sources()
    if not sources:
        raise NotHereError("CUDA kernels: there are none in csrc/cuda")
    problem = setup_helpers.why_no_cuda()
    if problem is not None:
        raise NotHereError(f"CUDA kernels: {problem}")
    from torch.utils.cpp_extension import include_paths

    command = [setup_helpers.cuda_home() / "bin" / "nvcc", *setup_helpers.cuda_flags(), "-Xptxas=-v", "-c"]
    command += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in ARCHITECTURES]
    command += [part for folder in include_paths() for part in ("-isystem", folder)]
    for source in sources:
        done = subprocess.run([*command, source, "-o", os.devnull], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{source} does not compile:\n{done.stderr}")
        for kernel in read_ptxas(done.stderr):
            yield kernel._replace(kernel=readable(kernel.kernel), call=Path(source).name)


def readable(name: str) -> str:
    """A C++ name without return type and parameters, where c++filt is there to read it."""
    try:
        plain = subprocess.run(["c++filt", name], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return name
    plain = plain.removeprefix("void ").replace("(anonymous namespace)::", "").replace("ddarts::", "")
    return plain.split("(")[0] or plain


if __name__ == "__main__":
    sys.exit(main())
