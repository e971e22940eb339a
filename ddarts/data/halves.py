"""The training images split in two for the search: one part trains the weights, the other the architecture."""

import math

import numpy as np
import torch
from torch import Tensor

from ddarts.data.draws import generator
from ddarts.runtime.errors import UsageError


def halves(labels: Tensor, train_portion: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the images with these labels (int64 [N]) in two disjoint parts that together hold every image.

    The first part has floor(train_portion * N) images. Every class is shared out in the same proportion, to within one
    image, and which of its images go where depends on `seed` alone.

    Returns:
        Indices of the training part and of the validation part, int64, ascending.

    Raises:
        UsageError: `train_portion` is not strictly between 0 and 1, or leaves a part without images.
    """
    if not 0 < train_portion < 1:
        raise UsageError(f"--train_portion {train_portion}: must be greater than 0 and less than 1")
    values = labels.cpu().numpy()
    parts: list[np.ndarray] = []
    seen = taken = 0
    for label in np.unique(values):
        members = np.flatnonzero(values == label)
        seen += len(members)
        # Rounding the running total, not each class, keeps both the classes and the sum right. The small number
        # undoes float rounding: 0.29 * 100 is 28.999...
        upto = math.floor(train_portion * seen + 1e-9)
        parts.append(generator(seed, "halves", int(label)).permutation(members)[: upto - taken])
        taken = upto
    in_train = np.zeros(len(values), dtype=bool)
    in_train[np.concatenate(parts) if parts else []] = True
    train, valid = np.flatnonzero(in_train), np.flatnonzero(~in_train)
    if not len(train) or not len(valid):
        raise UsageError(f"--train_portion {train_portion}: leaves one part of the {len(values)} images empty")
    return torch.from_numpy(train), torch.from_numpy(valid)
