"""Colour jitter as one linear map of the colours, so that every loader can do it in one pass.

Legend: N images, H, W pixels. A colour x becomes M x + lift * grey, grey being the mean grey of its image: brightness
and contrast (about that mean), then saturation (towards each pixel's grey) and hue (a turn about the grey axis of
YIQ), rounded to bytes once at the end.
"""

import numpy as np
import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.4, 0.2  # largest change; of the hue, in turns
_YIQ = np.array([GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])


def jitter_maps(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maps for uniform numbers in [-1, 1), float [N, 4]: M float32 [N, 3, 3], lift float32 [N]."""
    brightness, contrast, saturation = (1 + numbers[:, :3] * (BRIGHTNESS, CONTRAST, SATURATION)).T
    angle = 2 * np.pi * HUE * numbers[:, 3]
    turn = np.zeros((len(numbers), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * np.cos(angle)
    turn[:, 1, 2], turn[:, 2, 1] = -saturation * np.sin(angle), saturation * np.sin(angle)
    matrices = np.linalg.inv(_YIQ) @ turn @ _YIQ * (brightness * contrast)[:, None, None]
    return matrices.astype(np.float32), ((1 - contrast) * brightness).astype(np.float32)


def jitter(images: Tensor, numbers: Tensor) -> Tensor:
    """Images uint8 [N, 3, H, W] with their colours changed by `numbers` [N, 4]; a new tensor."""
    matrices, lift = (torch.from_numpy(part).to(images.device) for part in jitter_maps(numbers.cpu().numpy()))
    colours = images.flatten(2).float()
    grey = torch.tensor(GREY, device=images.device) @ colours.mean(2, keepdim=True)  # [N, 1]
    changed = torch.baddbmm((lift[:, None] * grey)[:, :, None], matrices, colours)
    return changed.round_().clamp_(0, 255).to(torch.uint8).view_as(images)
