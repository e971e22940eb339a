"""How a derived network runs while it trains: `plain`, module by module, or the faster `fused` (see fused.py)."""

import torch

from ddarts.genotype.schema import Genotype
from ddarts.network.fused import SEPARABLE
from ddarts.ops import dispatch


def choose(genotype: Genotype, device: torch.device, *, compiled: bool) -> tuple[str, str | None]:
    """`fused` where that is faster, else `plain` and why."""
    reason = _problem(genotype, device, compiled)
    return ("fused", None) if reason is None else ("plain", reason)


def _problem(genotype: Genotype, device: torch.device, compiled: bool) -> str | None:
    if compiled:
        return "--compile fuses by itself"
    if device.type != "cpu":
        return f"the fused one is not tuned for {device.type}"
    if dispatch.backend_choice() not in ("auto", "cpp") or dispatch.problem("cpp") is not None:
        return "the fused one needs the compiled operators"
    if not any(gene.op.startswith(SEPARABLE) for cell in genotype.cells for gene in cell):
        return "there are no separable convolutions to fuse"
    return None


def exact_channels_last(genotype: Genotype, execution: str) -> bool:
    """Whether bf16 gradients are right in channels-last order on the CPU: torch's are wrong for dilated depthwise
    convolutions, those of the fused execution are not."""
    return execution == "fused" or not any(gene.op.startswith("dil_conv") for cell in genotype.cells for gene in cell)
