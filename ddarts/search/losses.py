"""The losses of the architecture parameters.

Source: D-DARTS (arXiv 2108.09306), section 3; the survey arXiv 2304.05405, equations 4, 5, 45 and 46.
Shapes: S distinct cells, E edges, K operations.
"""

from dataclasses import dataclass

from torch import Tensor

# |mean M| is kept at or above this, so that the quotient stays finite when ablating the cells changes nothing.
CONTRIBUTION_FLOOR = 0.01


def zero_one_loss(mixing: Tensor, kind: str = "l2") -> Tensor:
    """How far σ(α) [S, E, K] still is from 0 and 1, per cell [S]: −mean((σ − ½)²) for l2, −mean|σ − ½| for l1."""
    distance = mixing - 0.5
    return -(distance.square() if kind == "l2" else distance.abs()).mean(dim=(1, 2))


@dataclass(frozen=True)
class Contributions:
    """What each cell contributes to the network, and the loss made of it.

    marginal [S]: M = L_CE(network) − L_CE(network with the cell ablated); negative when the cell helps.
    ablation_loss [S]: (M − mean M) / max(|mean M|, 0.01): larger for cells that help less than the average.
    gain: d ablation_loss / d L_CE, the same for every cell, through the L_CE in M alone.
    floor_acts: whether |mean M| was below 0.01.
    """

    marginal: Tensor
    ablation_loss: Tensor
    gain: Tensor
    floor_acts: Tensor


def contributions(full_loss: Tensor, ablated_losses: Tensor) -> Contributions:
    """From the loss of the whole network (scalar) and of the network without each cell [S]."""
    marginal = full_loss.detach() - ablated_losses
    mean = marginal.mean()
    scale = mean.abs().clamp_min(CONTRIBUTION_FLOOR)
    return Contributions(
        marginal=marginal,
        ablation_loss=(marginal - mean) / scale,
        gain=1 / scale,
        floor_acts=mean.abs() < CONTRIBUTION_FLOOR,
    )
