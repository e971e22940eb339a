"""Ablated networks: the mixing weights of one cell replaced by random numbers.

Shapes: S distinct cells, L cell positions, E edges, K operations.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ddarts.runtime.rows import rows_on
from ddarts.runtime.seeds import uniform

DRAW_STREAM = "ablation"


def draws(seed: int, step: int, like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) shaped like the mixing weights [S, E, K], a pure function of (seed, step, cell, edge,
    operation): the same on every rank and after every resume."""
    drawn = torch.from_numpy(uniform(seed, step, DRAW_STREAM, tuple(like.shape)))
    # Rounding to fewer bits must not reach 1.
    return drawn.to(like).clamp_max(1 - torch.finfo(like.dtype).eps / 2)


@torch.no_grad()
def ablated_losses(
    losses_of: Callable[[Sequence[int], Tensor], Tensor],
    weights: Tensor,
    replacement: Tensor,
    ablated: Sequence[Sequence[int]],
) -> Tensor:
    """Losses [S] of the network with each distinct cell ablated, without graphs.

    losses_of(first, weights): the losses [G] of G networks with mixing weights [G, L, E, K]; the cells before position
    first[g] mix as in the whole network, so that their outputs may be reused; `first` ascends.
    weights: [L, E, K] of the whole network. replacement: [S, E, K].
    ablated[s]: the positions that are ablated together for distinct cell s.
    """
    order = sorted(range(len(ablated)), key=lambda cell: min(ablated[cell]))
    mixed = weights.repeat(len(ablated), 1, 1, 1)
    for group, cell in enumerate(order):
        for position in ablated[cell]:
            mixed[group, position] = replacement[cell]
    losses = losses_of([min(ablated[cell]) for cell in order], mixed)
    return torch.empty_like(losses).index_copy_(0, rows_on(losses.device, tuple(order)), losses)
