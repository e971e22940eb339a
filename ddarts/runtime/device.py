"""Where a run computes and in which precision."""

import contextlib
from typing import Literal

import torch

from ddarts.runtime.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS = ("fp32", "bf16", "fp16")

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto", local_rank: int | None = None) -> torch.device:
    """The device called `name`: auto (the current GPU where there is one, else the CPU), cpu, cuda or cuda:N.

    local_rank: of several ranks on this machine, each of which takes a GPU of its own; None for one process.
    Raises UsageError where it is unknown or absent.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    base, _, index = name.partition(":")
    if base not in ("auto", "cuda") or (":" in name and not index.isdecimal()) or name.startswith("auto:"):
        raise UsageError(f"--device {name}: unknown; choose auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch sees no GPU here; choose cpu")
    if index and int(index) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: this machine's GPUs are 0 to {torch.cuda.device_count() - 1}")
    if local_rank is None:
        return torch.device("cuda", int(index) if index else torch.cuda.current_device())
    return torch.device("cuda", _gpu_of(local_rank, name if index else ""))


def _gpu_of(local_rank: int, named: str) -> int:
    """The GPU of a rank: the only one that the launcher lets it see, or that of its number."""
    if named:
        raise UsageError(f"--device {named}: each of several ranks has a GPU of its own; choose cuda")
    count = torch.cuda.device_count()
    if count > 1 and local_rank >= count:
        raise UsageError(
            f"{local_rank + 1} ranks or more on this machine, which has {count} GPUs: start fewer, or --device cpu"
        )
    return local_rank if count > 1 else 0


def resolve_precision(precision: str | None, amp: bool, device_type: str) -> Precision:
    """The precision to run in. `precision` None means that none was asked for: fp32, or with `amp` the device's own
    half precision (fp16 on CUDA, bf16 on the CPU).

    Raises UsageError where `--amp` and `--precision` disagree or the device cannot do it.
    """
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: choose fp32, bf16 or fp16")
    implied = "fp16" if device_type == "cuda" else "bf16"
    if amp and precision not in (None, implied):
        raise UsageError(f"--amp means --precision {implied} on {device_type}; --precision {precision} contradicts it")
    chosen = implied if amp else precision or "fp32"
    if chosen == "fp16" and device_type == "cpu":
        raise UsageError("--precision fp16 is not for the CPU; use --precision bf16 or --precision fp32")
    if chosen == "bf16" and device_type == "cuda" and _lacks_bf16():
        raise UsageError("--precision bf16: this GPU has none; use --precision fp16 or --precision fp32")
    return chosen  # type: ignore[return-value]


def autocast(precision: str, device: torch.device | str) -> contextlib.AbstractContextManager[object]:
    """The context of a forward pass in `precision`; a null context for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=_DTYPES[precision])


def memory_format(precision: str, device: torch.device | str, dilated: bool = True) -> torch.memory_format:
    """How images and activations lie in memory: channels last, which convolutions like best.

    Except in bf16 on the CPU where torch differentiates dilated depthwise convolutions: there torch (2.14 and before)
    computes wrong weight gradients on channels-last inputs, silently.
    """
    if precision == "bf16" and torch.device(device).type == "cpu" and dilated:
        return torch.contiguous_format
    return torch.channels_last


def make_scaler(precision: str, device: torch.device | str) -> torch.amp.GradScaler:
    """A gradient scaler, doing nothing unless the precision is fp16."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "fp16")


def _lacks_bf16() -> bool:
    return torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
