"""What a checkpoint holds of a run on several ranks.

Everything that is the same on all ranks once, BN's statistics reduced; beside it what every rank has for itself, which
only a run on as many ranks takes back: that one goes on with the same bits.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ddarts.runtime.ranks.group import Group
from ddarts.runtime.ranks.statistics import Statistics
from ddarts.runtime.rng import rng_state, set_rng_state


def network_state(network: nn.Module, statistics: Statistics) -> dict[str, Tensor]:
    """The network's state with the common statistics. Collective."""
    return {**network.state_dict(), **statistics.reduce()}


def position(epoch: int, batch: int, whole: int) -> dict[str, int]:
    """Where a run stands in its data, as any number of ranks understands it: images of the epoch that were shown;
    `whole` are the images of a batch of all ranks."""
    return {"epoch": epoch, "images": batch * whole}


def batch_at(position: Mapping[str, int], whole: int, batches: int) -> int:
    """The batch to go on with, of `batches` in an epoch. Where `whole` was another number, up to one batch of all
    ranks is shown twice."""
    return min(position["images"] // whole, batches)


def own_state(group: Group, *statistics: Statistics) -> dict[str, Any]:
    """What each rank has for itself: generators, and on several ranks statistics, a row each. Collective."""
    state = rng_state()
    if group.size == 1:
        return {"rng": state}
    generators = [state[name] for name in ("torch", "cuda") if name in state]
    return {
        "rng": state,
        "ranks": group.size,
        "rank_statistics": [each.gather() for each in statistics],
        "rank_generators": group.gather(torch.cat(generators)),
    }


def load_own_state(state: Mapping[str, Any], group: Group, *statistics: Statistics) -> None:
    """Take back what `own_state` gave, as far as it belongs to this number of ranks."""
    generators = dict(state["rng"])
    if group.size > 1 and state.get("ranks") == group.size:
        for each, rows in zip(statistics, state["rank_statistics"], strict=True):
            each.scatter(rows.to(group.device))
        row, start = state["rank_generators"][group.rank], 0
        for name in ("torch", "cuda"):
            if name in generators:
                generators[name] = row[start : start + len(generators[name])].clone()  # torch wants it by itself
                start += len(generators[name])
    set_rng_state(generators)
    if group.size > 1 and state.get("ranks", 1) != group.size:
        own_generators(group)


def own_generators(group: Group) -> None:
    """Let every rank but the first draw numbers of its own from here on, where all have the same generators."""
    if group.rank:
        torch.manual_seed((torch.initial_seed() + 1_000_003 * group.rank) % 2**63)
