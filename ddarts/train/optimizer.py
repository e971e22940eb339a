"""The optimizer of derived networks (article, section 5): SGD with momentum and weight decay."""

from collections.abc import Iterable

import torch
from torch import nn

from ddarts.config import TrainConfig


def make_optimizer(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.SGD:
    """Fused SGD: it can leave an update out on the device's own word (`found_inf`), without asking the host.

    The momenta start as zeros instead of at the first step, which gives the same values; fused SGD would otherwise
    take up unwritten memory where the very first update is left out (torch 2.11 to 2.14).
    """
    optimizer = torch.optim.SGD(
        parameters, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
    )
    if config.momentum:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(
                    parameter, memory_format=torch.preserve_format
                )
    return optimizer
