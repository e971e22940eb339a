"""Two rules that turn the gradients of one iteration into the step of α and of the weights.

`paper` follows the article. `official` follows what the published program really computes, by which its genotypes were
found: there the backward passes of the cells accumulate into one another's buffers and into the weights. Both are
linear combinations of the same few gradients, so one shared backward pass serves either.
Shapes: S distinct cells, E edges, K operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddarts.search.losses import Contributions


@dataclass(frozen=True)
class LossWeights:
    """w_01 of the zero-one loss and w_AB of the ablation loss."""

    zero_one: float
    ablation: float


class PaperRecipe:
    """Cell i descends on L_CE + w_01·L_01 + w_AB·L_AB; the weights on L_CE of the training batch."""

    architecture_moves_statistics = False
    needs_training_gradient = False
    needs_weight_gradient = False

    def __init__(self, sets: int, weights: LossWeights) -> None:
        self.weights = weights

    def ablated(self, positions: Sequence[int]) -> Sequence[int]:
        """Positions ablated together for a distinct cell: all that share it."""
        return positions

    def alpha_gradient(self, ce: Tensor, zero_one: Tensor, found: Contributions | None) -> Tensor:
        """Gradient [S, E, K] of α from those of L_CE and of the summed L_01 on the validation batch."""
        gain = 0 if found is None else self.weights.ablation * found.gain
        return ce * (1 + gain) + self.weights.zero_one * zero_one

    def keep_training_gradient(self, gradient: Tensor) -> None:
        """The training batch has no say in α."""

    def keep_validation_gradients(self, gradients: Sequence[Tensor]) -> None:
        """The architecture step leaves nothing for the weights."""

    def left_for_weights(self) -> Sequence[Tensor]:
        """Gradients that the weights descend on beside those of the training batch."""
        return ()

    def state(self) -> dict:
        """What must survive a resume."""
        return {}

    def load(self, state: dict, device: torch.device | str = "cpu") -> None:
        """Take back what `state` gave."""


class OfficialRecipe:
    """The published program's accumulation of gradients, written as linear combinations.

    Backward passes for the cells 0 … S−1 each add g = ∂L_CE/∂α to every cell's buffer; cell i's optimizer steps and
    clears its buffer after pass i. So it has seen (i+1)·g of this step and finds (S−1−i)·g of the last one, with the
    gradient that the weight step left. The same passes leave S times the validation gradient in the weights' buffers.
    The value of L_AB is a constant there and has no gradient.
    """

    architecture_moves_statistics = True
    needs_training_gradient = True
    needs_weight_gradient = True

    def __init__(self, sets: int, weights: LossWeights) -> None:
        self.weights = weights
        self.sets = sets
        self.left: Tensor | None = None
        self._validation: Sequence[Tensor] = ()

    def ablated(self, positions: Sequence[int]) -> Sequence[int]:
        """Only the first position of a shared cell is ablated there."""
        return positions[:1]

    def alpha_gradient(self, ce: Tensor, zero_one: Tensor, found: Contributions | None) -> Tensor:
        """The content [S, E, K] of each cell's buffer when its optimizer steps."""
        order = torch.arange(self.sets, dtype=ce.dtype, device=ce.device).view(-1, 1, 1)
        gradient = (order + 1) * ce + self.weights.zero_one * zero_one
        if self.left is not None:
            gradient = gradient + self.left
        self._leave((self.sets - 1 - order) * ce)
        return gradient

    def keep_training_gradient(self, gradient: Tensor) -> None:
        """The weight step adds ∂(L_CE + w_01·L_01)/∂α [S, E, K] of the training batch to the buffers."""
        self._leave(gradient if self.left is None else self.left + gradient)

    def keep_validation_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Gradients of the weights that the architecture step leaves, once per distinct cell."""
        self._validation = [self.sets * gradient for gradient in gradients]

    def left_for_weights(self) -> Sequence[Tensor]:
        """What the architecture step left in the weights' buffers; taken once."""
        left, self._validation = self._validation, ()
        return left

    def _leave(self, left: Tensor) -> None:
        """In place, where a recorded iteration finds it."""
        self.left = left if self.left is None else self.left.copy_(left)

    def state(self) -> dict:
        """What must survive a resume (between iterations nothing of the weights' buffers is pending)."""
        return {"left": self.left}

    def load(self, state: dict, device: torch.device | str = "cpu") -> None:
        """Take back what `state` gave."""
        self.left = None if state["left"] is None else state["left"].to(device)


Recipe = PaperRecipe | OfficialRecipe
RECIPES: dict[str, type[PaperRecipe] | type[OfficialRecipe]] = {"paper": PaperRecipe, "official": OfficialRecipe}
