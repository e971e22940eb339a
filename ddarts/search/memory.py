"""How much memory an iteration of a search takes."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ddarts.config.search import SearchConfig
from ddarts.data.specs import sized, spec
from ddarts.runtime.memory import estimate
from ddarts.search.build import Searcher, make_network


def bytes_needed(config: SearchConfig, searcher: Searcher, precision: str) -> int:
    """An estimate, from the shapes alone: nothing is computed and no memory taken."""
    own = searcher.network
    with torch.device("meta"):
        plain = replace(config, activation_storage="float32")
        network = make_network(plain, searcher.layout, own.classifier.out_features, "reference").eval()
        side = sized(spec(config.dataset or ""), config.image_size, config.val_resize).image_size
        mixing = torch.empty(searcher.layout.layers, *searcher.alphas.logits.shape[1:])
        images = torch.empty(0, 3, side, side)
    kept = 0

    def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal kept
        kept += output.shape[1:].numel()

    # The fused network keeps what batch normalisation reads, and computes everything else again.
    layers = (nn.BatchNorm2d,) if own.execution == "fused" else (nn.BatchNorm2d, nn.Conv2d, nn.ReLU)
    for module in network.modules():
        if isinstance(module, layers):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(images, mixing)
    if own.activation_storage == "half":
        kept -= kept * 5 // 12  # five sixths are the stages' outputs
    params = sum(parameter.numel() for parameter in own.parameters())
    return estimate(kept, params, -(-config.batch_size // config.accumulate), precision)
