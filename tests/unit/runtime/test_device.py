"""Devices and precisions: what is chosen, and what is refused in one line."""

import pytest
import torch

from ddarts.runtime.device import autocast, make_scaler, pick_device, resolve_precision
from ddarts.runtime.errors import UsageError


def gpus(monkeypatch, count, bf16=True):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: count - 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)


def test_devices_without_a_gpu(monkeypatch):
    gpus(monkeypatch, 0)
    assert pick_device() == pick_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UsageError, match=f"device {name}: torch sees no GPU here; choose cpu"):
            pick_device(name)


def test_devices_with_gpus(monkeypatch):
    gpus(monkeypatch, 2)
    assert pick_device() == pick_device("cuda") == torch.device("cuda:1")
    assert pick_device("cuda:0") == torch.device("cuda:0") and pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="cuda:2: this machine's GPUs are 0 to 1"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "auto:0", "cpu:0", "tpu:0"])
def test_unknown_devices(monkeypatch, name):
    gpus(monkeypatch, 1)
    with pytest.raises(UsageError, match="choose auto, cpu, cuda or cuda:N"):
        pick_device(name)


@pytest.mark.parametrize(
    ("precision", "amp", "device", "expected"),
    [
        (None, False, "cpu", "fp32"), (None, False, "cuda", "fp32"), (None, True, "cpu", "bf16"),
        (None, True, "cuda", "fp16"), ("bf16", True, "cpu", "bf16"), ("fp16", True, "cuda", "fp16"),
        ("fp32", False, "cpu", "fp32"), ("bf16", False, "cuda", "bf16"), ("fp16", False, "cuda", "fp16"),
    ],
)  # fmt: skip
def test_precisions(monkeypatch, precision, amp, device, expected):
    gpus(monkeypatch, 1)
    assert resolve_precision(precision, amp, device) == expected


@pytest.mark.parametrize(
    ("precision", "amp", "device", "words"),
    [
        ("fp32", True, "cpu", "--amp means --precision bf16 on cpu; --precision fp32 contradicts it"),
        ("fp16", True, "cpu", "--amp means --precision bf16 on cpu"),
        ("bf16", True, "cuda", "--amp means --precision fp16 on cuda"),
        ("fp16", False, "cpu", "use --precision bf16 or --precision fp32"),
        ("fp64", False, "cpu", "--precision fp64: choose fp32, bf16 or fp16"),
        ("bf16", False, "cuda", "this GPU has none; use --precision fp16 or --precision fp32"),
    ],
)
def test_impossible_precisions(monkeypatch, precision, amp, device, words):
    gpus(monkeypatch, 1, bf16=False)
    with pytest.raises(UsageError, match=words):
        resolve_precision(precision, amp, device)


def test_autocast_and_scaler():
    x = torch.randn(2, 2)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(precision, "cpu"):
            assert (x @ x).dtype == dtype
        assert (x @ x).dtype == torch.float32
        scaler = make_scaler(precision, torch.device("cpu"))
        assert not scaler.is_enabled() and scaler.scale(x) is x
    assert make_scaler("fp16", "cpu").is_enabled()
