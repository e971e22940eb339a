"""States of torch's optimizers between runs on different devices."""

from collections.abc import Mapping
from typing import Any

import torch

from ddarts.runtime.schedule import set_rate


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Its state, with learning rates as numbers."""
    state = optimizer.state_dict()
    return {**state, "param_groups": [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take back what `optimizer_state` gave, but not how steps were computed there (fused or not, learning rates as
    tensors or numbers): the optimizer's own options stay."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    groups = [{**saved, **options} for saved, options in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})
    for group, options, saved in zip(optimizer.param_groups, own, state["param_groups"], strict=True):
        group.update(options)  # the very tensors, which a graph may read
        set_rate(group, saved["lr"])
