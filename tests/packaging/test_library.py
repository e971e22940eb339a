"""The compiled library hidden, forged or of another build: one message, the remedy, and the reference takes over."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ddarts.ops
from ddarts.ops import dispatch, library
from ddarts.runtime.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
X, W = [torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)], torch.tensor([1.0, 2.0])


@pytest.fixture
def found_again(monkeypatch: pytest.MonkeyPatch):
    """Lets a test look for the library anew; afterwards the process has its own answer back."""
    monkeypatch.setattr(dispatch, "_announced", set())

    def look() -> library.Library:
        answer = library.inspect()
        monkeypatch.setattr(dispatch, "library", lambda: answer)
        return answer

    return look


def forged(**changes: str) -> tuple[dict[str, str], str]:
    told = library.read_record()
    assert told is not None
    return {**told[0], **changes}, told[1]


def test_library_of_this_checkout_is_usable() -> None:
    answer = library.inspect()
    assert answer.problem is None
    facts = {"torch", "torch_target", "flags", "arch_list", "cuda", "cuda_arch_list", "source_hash", "compiler", "abi"}
    assert facts | {"python"} <= set(answer.record)
    assert "-march=native" not in answer.record["flags"] + answer.record["cuda"]
    assert not any(str(ROOT) in value for value in answer.record.values())


def test_hidden_library_falls_back_with_one_message(monkeypatch, caplog, found_again) -> None:
    monkeypatch.setattr(library, "find", lambda *_: None)
    found_again()
    with caplog.at_level(logging.INFO, "ddarts.ops"):
        for _ in range(3):
            out = ddarts.ops.mixed_sum([X[0].requires_grad_(), X[1]], W)
            out.sum().backward()
    assert torch.equal(out.detach(), torch.full((1, 1, 2, 2), 3.0))
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    message = caplog.records[0].getMessage()
    assert message.startswith(
        "operators run on the slower reference backend: the compiled library is not built; rebuild"
    )
    assert not any(row.available for row in ddarts.ops.table() if row.backend == "cpp")


def test_hidden_library_refuses_an_explicit_choice(monkeypatch, found_again) -> None:
    monkeypatch.setattr(library, "find", lambda *_: None)
    found_again()
    with pytest.raises(UsageError, match=r"cpp: not available, .*pip install.*or use auto, reference(, triton)?$"):
        ddarts.ops.use_backend("cpp")
    monkeypatch.setenv("DDARTS_BACKEND", "cpp")
    with pytest.raises(UsageError, match="DDARTS_BACKEND cpp: not available"):
        ddarts.ops.mixed_sum(X, W)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"torch_target": "9.9", "torch": "9.9.1"},
            r"built with torch 9.9.1 for torch >= 9.9, but this is torch \d.*rebuild",
        ),
        ({"source_hash": "0123456789abcdef"}, r"built from other sources \(hash 0123456789abcdef, csrc/ has .*rebuild"),
    ],
)
def test_forged_record_says_so(monkeypatch, found_again, changes: dict[str, str], message: str) -> None:
    told = forged(**changes)
    monkeypatch.setattr(library, "read_record", lambda: told)
    problem = found_again().problem
    assert problem is not None
    with pytest.raises(UsageError, match=message):
        ddarts.ops.use_backend("cpp")


def test_library_and_record_of_different_builds(monkeypatch, found_again) -> None:
    monkeypatch.setattr(library, "_library_hash", lambda path: "feedfeedfeedfeed")
    assert "_C.abi3.so and _host are of different builds; rebuild" in str(found_again().problem)


def test_library_that_does_not_load(monkeypatch, found_again, tmp_path: Path) -> None:
    broken = tmp_path / "_C.abi3.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(library, "find", lambda *_: broken)
    assert "_C.abi3.so does not load" in str(found_again().problem)


def test_missing_host_module(monkeypatch, found_again) -> None:
    monkeypatch.setitem(sys.modules, "ddarts._host", None)
    assert "ddarts._host is not built for this Python; rebuild" in str(found_again().problem)


def test_record_without_a_checkout_needs_no_hash(tmp_path: Path) -> None:
    record, _ = forged(source_hash="0123456789abcdef")
    assert library.mismatch(record, torch.__version__, tmp_path / "csrc") is None
    assert library.mismatch(record, "2.11.0", tmp_path / "csrc") is None
    assert "torch >= 2.11, but this is torch 2.10.1" in str(library.mismatch(record, "2.10.1", tmp_path / "csrc"))


def test_backend_that_is_not_there() -> None:
    before = dispatch.backend_choice()
    with pytest.raises(UsageError, match="fast: unknown: allowed are auto, reference, cpp, cuda, triton"):
        ddarts.ops.use_backend("fast")
    assert dispatch.backend_choice() == before


def test_cuda_library_that_is_not_built_says_why(monkeypatch) -> None:
    told = forged(cuda="not built, nvcc is not found, set CUDA_HOME")
    monkeypatch.setattr(library, "read_record", lambda: told)
    monkeypatch.setattr(library, "find", lambda *_: None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    answer = library.inspect_cuda()
    monkeypatch.setattr(dispatch, "cuda_library", lambda: answer)
    with pytest.raises(UsageError, match=r"cuda: .*the CUDA library is not built, nvcc is not found, .*DDARTS_CUDA=1"):
        ddarts.ops.use_backend("cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert str(library.inspect_cuda().problem).endswith("is built without CUDA")


@pytest.mark.parametrize(
    ("gpu", "problem"),
    [
        (None, "no GPU is usable"),
        ((9, 0), None),
        ((8, 6), None),  # machine code for 8.0 runs on 8.6
        ((12, 0), None),  # PTX for 10.0 is compiled for it
        ((7, 5), "built for GPUs of architecture 8.0 9.0 10.0[+]PTX, this one is 7.5; rebuild .*ARCH_LIST=7.5"),
    ],
)
def test_gpu_must_be_one_that_the_library_was_built_for(monkeypatch, gpu, problem: str | None) -> None:
    usable = library.Library(None, record={"cuda_arch_list": "8.0 9.0 10.0+PTX"})
    monkeypatch.setattr(library, "inspect", lambda name: usable)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    found = library.inspect_cuda().problem
    assert found is None if problem is None else re.match(problem, str(found))


@pytest.mark.parametrize("backend", ["cuda", "triton"])
def test_gpu_backend_needs_a_gpu(monkeypatch, backend: str) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(dispatch, "cuda_library", library.inspect_cuda)  # asked anew, not as this process found it
    reasons = "no GPU is usable|is not built|is built without CUDA|is not installed"
    with pytest.raises(UsageError, match=f"{backend}: not available, .*({reasons})"):
        ddarts.ops.use_backend(backend)


def test_choice_ends_with_the_block() -> None:
    with ddarts.ops.use_backend("reference"):
        assert dispatch.backend_choice() == "reference"
        with ddarts.ops.use_backend("cpp"):
            assert dispatch.backend_choice() == "cpp"
        assert dispatch.backend_choice() == "reference"
    assert dispatch.backend_choice() == "auto"


def test_cpp_does_not_take_other_devices() -> None:
    with ddarts.ops.use_backend("cpp"), pytest.raises(UsageError, match="'cpp' does not run mixed_sum on cuda tensors"):
        dispatch.pick("mixed_sum", "cuda")


def test_importing_ops_needs_no_torch() -> None:
    program = "import sys, ddarts.ops; assert 'torch' not in sys.modules"
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": path})
