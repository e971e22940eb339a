"""What a derived network costs: parameters and multiply-accumulates (MACs) of one image.

The network runs once on torch's meta device: shapes go through it, no memory is taken and nothing is computed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddarts.genotype.schema import Genotype
from ddarts.network.fused import SEPARABLE
from ddarts.network.model import DerivedNetwork
from ddarts.runtime.errors import UsageError

MAX_WIDTH = 2**26  # a cell that reads so many channels still has weights of fewer than 2^63 bytes


@dataclass(frozen=True)
class NetworkCost:
    """Counts of one network.

    params: trainable parameters without the auxiliary head. params_auxiliary: with it (None: there is no reduction
    cell for it to stand after). macs: convolutions and linear layers, without the auxiliary head; macs_auxiliary: with
    it. macs_thop: what the profiler thop 0.0.31 counts, the published "FLOPs": BN and average pools too.
    params_without_gradient: parameters that have no influence on the logits. input: shape of the image.
    activations: numbers that the layers without the auxiliary head put out, which training keeps in memory;
    activations_fused: without those that the fused execution computes again.
    """

    params: int
    params_auxiliary: int | None
    macs: int
    macs_auxiliary: int | None
    macs_thop: int
    params_without_gradient: int
    input: tuple[int, int, int, int]
    activations: int
    activations_fused: int


def network_cost(
    genotype: Genotype,
    num_classes: int,
    init_channels: int,
    *,
    stem: str = "cifar",
    wiring: str = "increasing",
    image_size: int = 32,
) -> NetworkCost:
    """Count a network in a second or two, without memory for its weights, however wide it is.

    UsageError where it is so wide that the sizes of its weights no longer fit in 64 bits.
    """
    widest = (init_channels << len(genotype.reductions)) * genotype.steps
    if widest > MAX_WIDTH:
        raise UsageError(
            f"--init_channels {init_channels}: with {len(genotype.reductions)} reductions and {genotype.steps} nodes "
            f"a cell has {widest} channels; at most {MAX_WIDTH} can be counted"
        )
    with torch.device("meta"):
        model = DerivedNetwork(
            genotype, num_classes, init_channels, bool(genotype.reductions), stem, wiring=wiring
        ).eval()
    counter = _Counter(model)
    with torch.enable_grad():
        logits = model(torch.empty(0, 3, image_size, image_size, device="meta"))
    macs, thop = counter.macs, counter.macs + counter.others
    activations, activations_fused = counter.activations, counter.activations - counter.recomputed
    head_params = head_macs = None
    if model.auxiliary_head is not None:
        model.auxiliary_head(counter.before_head)
        head_params, head_macs = _numel(model.auxiliary_head.parameters()), counter.macs - macs
    params = _numel(model.parameters()) - (head_params or 0)
    return NetworkCost(
        params=params,
        params_auxiliary=None if head_params is None else params + head_params,
        macs=macs,
        macs_auxiliary=None if head_macs is None else macs + head_macs,
        macs_thop=thop,
        params_without_gradient=params - _numel(_reached(logits)),
        input=(1, 3, image_size, image_size),
        activations=activations,
        activations_fused=activations_fused,
    )


def _numel(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _reached(output: Tensor) -> list[Tensor]:
    """The parameters that autograd would give a gradient when `output` is differentiated."""
    found, seen, waiting = [], set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where gradients end up
            found.append(node.variable)
        waiting.extend(following for following, _ in node.next_functions)
    return found


class _Counter:
    """Counts what one image costs while the network runs on an empty batch.

    `macs`: convolutions and linear layers. `others`: what thop 0.0.31 counts beside them. BN: 2 for every element.
    Average pooling: 1 for every element that comes out. Adaptive average pooling: (pixels that go in per pixel that
    comes out + 1) for every element that comes out. ReLU, maximum and sums: nothing.
    """

    _LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d, nn.ReLU)

    def __init__(self, model: DerivedNetwork) -> None:
        self.macs = self.others = self.activations = self.recomputed = 0
        self.before_head: Tensor | None = None
        for name, module in model.named_modules():
            if isinstance(module, self._LAYERS):
                module.register_forward_hook(self._count)
                # Of a separable convolution the fused execution keeps what batch normalisation reads.
                if any(op in name for op in SEPARABLE) and not isinstance(module, nn.BatchNorm2d):
                    module.register_forward_hook(self._recompute)
        if model.auxiliary_head is not None:
            model.cells[model.auxiliary_after].register_forward_hook(self._remember)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        elements = output.shape[1:].numel()
        self.activations += elements
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            self.macs += elements * module.weight[0].numel()  # each is a sum over one filter or row
        elif isinstance(module, nn.BatchNorm2d):
            self.others += 2 * elements
        elif isinstance(module, nn.AvgPool2d):
            self.others += elements
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            height, width = (a // b for a, b in zip(inputs[0].shape[2:], output.shape[2:], strict=True))
            self.others += (height * width + 1) * elements

    def _recompute(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.recomputed += output.shape[1:].numel()

    def _remember(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.before_head = output.detach()
