"""From a configuration and the launcher's environment to the group of a run, and the engine of its weights."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from ddarts.config.common import deepspeed_steps
from ddarts.config.ds_config import merged
from ddarts.runtime.device import pick_device
from ddarts.runtime.errors import UsageError
from ddarts.runtime.loss_scale import LossScale
from ddarts.runtime.ranks.discovery import discover, free_port
from ddarts.runtime.ranks.engines import TorchEngine, WeightEngine
from ddarts.runtime.ranks.group import Group, open_group


@contextmanager
def open_ranks(config: Any) -> Iterator[Group]:
    """The ranks that run `config` (--device, --engine, --rank_timeout), each on its device. Raises UsageError."""
    place = discover()
    deepspeed = config.engine == "deepspeed"
    if deepspeed and importlib.util.find_spec("deepspeed") is None:
        raise UsageError("--engine deepspeed: DeepSpeed is not installed; pip install deepspeed, or use --engine torch")
    device = pick_device(config.device, place.local_rank if place.size > 1 else None)
    if place.port == 0:
        place = place.at(free_port())
    with open_group(place, device, config.rank_timeout, always=deepspeed) as group:
        yield group


def make_engine(
    config: Any,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    group: Group,
    autocast: Callable[[], AbstractContextManager],
    scale: LossScale,
) -> WeightEngine:
    """The engine that --engine names. UsageError where --ds_config contradicts an option or the number of ranks."""
    if config.engine == "torch":
        return TorchEngine(network, optimizer, grad_clip=config.grad_clip, group=group, scale=scale, autocast=autocast)
    from ddarts.runtime.ranks.deepspeed import DeepSpeedEngine

    settings = merged(config.ds_config, deepspeed_steps(config, group.size))
    return DeepSpeedEngine(network, optimizer, group, settings, scale=scale, autocast=autocast)
