"""DeepSpeed's configuration: what ddarts says, and a user's file merged into it.

The file may set whatever ddarts has no say in (buckets, overlap, profilers …). What an option of ddarts already says
must agree with it, and what would break the search is refused; every refusal names the key.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ddarts.config.values import shown
from ddarts.runtime.errors import UsageError

MAX_BYTES = 1 << 20
STAGES = (0, 1, 2)

_PRECISION = "ddarts runs autocast itself, so that α stay float32; use --precision bf16 or fp16"
_OFFLOAD = "it needs DeepSpeed's CPU Adam, and ddarts steps the weights with SGD"
# Key path -> why it is refused whatever it says.
_REFUSED = {
    "optimizer": "ddarts brings its own (SGD); see --learning_rate, --momentum and --weight_decay",
    "scheduler": "ddarts sets the learning rate itself (cosine); see --learning_rate",
    "zero_optimization.offload_optimizer": _OFFLOAD,
    "zero_optimization.offload_param": _OFFLOAD,
    "elasticity": "the number of ranks is the launcher's; a run resumes on another number by --resume",
    "pipeline": "the network is not split into stages",
    "autotuning": "it stops the program; measure with ddarts bench search --ranks",
}
# Key path of a switch -> why it must stay off.
_OFF = {
    "fp16.enabled": _PRECISION,
    "bf16.enabled": _PRECISION,
    "bfloat16.enabled": _PRECISION,
    "amp.enabled": _PRECISION,
    "torch_autocast.enabled": _PRECISION,
}
_SECTIONS = tuple(key.partition(".")[0] for key in _OFF)
_UNTESTED = "zero_allow_untested_optimizer"
_STAGE = "zero_optimization.stage"
_STAGE_3 = (
    "stage 3 splits the weights themselves and gathers them module by module, and the fused cells, the ablation passes "
    "and the evaluation read weights outside of that; a search network's weights are a few megabytes, activations take "
    "the memory: use 0, 1 or 2"
)
# Keys of which another spelling is a mistake, and how close one has to be.
_KNOWN = (
    *("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"),
    *("communication_data_type", "zero_optimization", _UNTESTED),
    *(key for key in _REFUSED if "." not in key),
)
_CLOSE = 0.85


@dataclass(frozen=True)
class Steps:
    """What ddarts tells DeepSpeed of a step: images of a rank (`batch_size`), in how many parts (`accumulate`), the
    largest norm of the gradient, and the number of ranks (None while it is not known)."""

    batch_size: int
    accumulate: int
    grad_clip: float
    ranks: int | None = None

    def keys(self) -> dict[str, tuple[Any, str]]:
        """DeepSpeed's key → its value, and the option that says so."""
        part = -(-self.batch_size // self.accumulate)
        found: dict[str, tuple[Any, str]] = {
            "train_micro_batch_size_per_gpu": (part, f"--batch_size {self.batch_size} --accumulate {self.accumulate}"),
            "gradient_accumulation_steps": (self.accumulate, f"--accumulate {self.accumulate}"),
            "gradient_clipping": (self.grad_clip, f"--grad_clip {self.grad_clip:g}"),
        }
        if self.ranks is not None:
            whole = part * self.accumulate * self.ranks
            found["train_batch_size"] = (whole, f"--batch_size {self.batch_size} on {self.ranks} ranks")
        return found


def merged(path: str | Path | None, steps: Steps) -> dict[str, Any]:
    """DeepSpeed's configuration: the file's (None: none), completed by ours. UsageError names file and key."""
    content = read(path) if path else {}
    for problem in problems(content, steps):
        raise UsageError(f"--ds_config {path}: {problem}")
    zero = {"stage": 0, **_said(content.get("zero_optimization", {}))}
    ours = {key: value for key, (value, _) in steps.keys().items()}
    return {
        "steps_per_print": 10**9,
        _UNTESTED: True,
        **{key: value for key, value in _said(content).items() if key not in _SECTIONS},
        **ours,
        "zero_optimization": zero,
    }


def problems(content: Mapping[str, Any], steps: Steps) -> Iterator[str]:
    """What contradicts ddarts in a file's content, one line each, the key first."""
    for key, reason in _REFUSED.items():
        if _found(content, key) is not None:
            yield f"{key}: remove it: {reason}"
    for section in _SECTIONS:
        if not isinstance(content.get(section, {}), Mapping):
            yield f'{section} {shown(content[section])}: must be an object such as {{"enabled": false}}'
    for key, reason in _OFF.items():
        if _found(content, key) not in (None, False, "auto"):
            yield f"{key} {shown(_found(content, key))}: must be false: {reason}"
    if content.get(_UNTESTED) is False:
        yield f"{_UNTESTED} False: must be true: SGD is none of the optimizers that DeepSpeed tests"
    for key in content:
        meant = get_close_matches(key, _KNOWN, n=1, cutoff=_CLOSE)
        if meant and key not in _KNOWN:  # DeepSpeed would pass over it without a word
            yield f"{key}: unknown; is {meant[0]} meant?"
    stage = _found(content, _STAGE)
    if stage == 3:
        yield f"{_STAGE} 3: {_STAGE_3}"
    elif stage is not None and (isinstance(stage, bool) or stage not in STAGES):
        yield f"{_STAGE} {shown(stage)}: must be 0, 1 or 2"
    for key, (value, option) in steps.keys().items():
        there = _found(content, key)
        if there not in (None, "auto", value):
            yield f"{key} {shown(there)}: {option} says {value:g}; remove the key, or change the option"


def read(path: str | Path) -> dict[str, Any]:
    """The content of a JSON file. UsageError where it cannot be read or is something else."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--ds_config {path}: cannot be read ({error.strerror})") from None
    try:
        content = json.loads(data) if len(data) <= MAX_BYTES else None
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise UsageError(f"--ds_config {path}: is not a JSON file{f' (line {line})' if line else ''}") from None
    if not isinstance(content, dict):
        raise UsageError(f"--ds_config {path}: must hold one JSON object, as DeepSpeed's documentation describes it")
    if not isinstance(content.get("zero_optimization", {}), dict):
        raise UsageError(f'--ds_config {path}: zero_optimization: must be an object such as {{"stage": 1}}')
    return content


def _said(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a file does not leave to ddarts or to DeepSpeed's defaults."""
    return {key: value for key, value in content.items() if value != "auto"}


def _found(content: Mapping[str, Any], key: str) -> Any:
    """The value at a path such as `zero_optimization.stage`; None where it is not there."""
    value: Any = content
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
