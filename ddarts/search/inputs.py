"""What an iteration takes from the host. Shapes: S distinct cells, E edges, K operations."""

import torch
from torch import Tensor

from ddarts.search.ablation import draws


class HostInputs:
    """A step's number and its ablation draws [S, E, K], in tensors like α that stay where they are: no step waits for
    the host, and one that was recorded finds them."""

    def __init__(self, alphas: Tensor) -> None:
        self.number = torch.zeros((), dtype=torch.int64, device=alphas.device)
        self.draws = torch.zeros_like(alphas, requires_grad=False)

    def set(self, seed: int, step: int) -> None:
        """Those of a step."""
        self.number.fill_(step)
        self.draws.copy_(draws(seed, step, torch.empty_like(self.draws, device="cpu")))
