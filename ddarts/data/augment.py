"""What is done to a training image, and the parts that both loaders share.

The order is the published one: crop from the padded image, flip, AutoAugment (on bytes), to [0, 1], normalise, cutout.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddarts.data.specs import DataSpec
from ddarts.runtime.errors import UsageError

if TYPE_CHECKING:
    from torchvision.transforms.v2 import AutoAugment

POLICIES = ("cifar10", "imagenet")


@dataclass(frozen=True)
class Augmentation:
    """Which augmentations are on.

    Attributes:
        padding: black pixels added on every side before a random crop of the original size; 0 turns it off.
        flip: mirror every second image, at random.
        cutout_length: side in pixels of the square that is set to the mean colour; 0 turns it off.
        auto_augment: AutoAugment policy, "cifar10" or "imagenet"; None turns it off.

    Raises:
        UsageError: a negative number or an unknown policy.
    """

    padding: int = 4
    flip: bool = True
    cutout_length: int = 0
    auto_augment: str | None = None

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UsageError(f"padding {self.padding}: must be 0 or more")
        if self.cutout_length < 0:
            raise UsageError(f"--cutout_length {self.cutout_length}: must be 0 or more")
        if self.auto_augment is not None and self.auto_augment not in POLICIES:
            raise UsageError(f"AutoAugment policy {self.auto_augment}: unknown, choose one of {', '.join(POLICIES)}")

    @classmethod
    def none(cls) -> "Augmentation":
        """Nothing but normalising: for evaluation."""
        return cls(padding=0, flip=False)


def training_augmentation(config: Any, spec: DataSpec) -> Augmentation:
    """The augmentation that the options --cutout, --cutout_length and --auto_aug ask for on a data set; images that
    must not be mirrored are not."""
    return Augmentation(
        flip=spec.flip,
        cutout_length=config.cutout_length if config.cutout else 0,
        auto_augment=spec.auto_augment if config.auto_aug else None,
    )


def cutout_mask(rows: Tensor, columns: Tensor, length: int, height: int, width: int) -> Tensor:
    """Where the cutout squares lie: bool [N, 1, height, width], True inside.

    A square has side `length` and starts length // 2 above and left of its centre (`rows`, `columns`: int64 [N]); what
    falls off the image is lost, so squares near a border are smaller.
    """
    y = torch.arange(height, device=rows.device) - (rows[:, None] - length // 2)
    x = torch.arange(width, device=rows.device) - (columns[:, None] - length // 2)
    inside_y, inside_x = (y >= 0) & (y < length), (x >= 0) & (x < length)
    return (inside_y[:, :, None] & inside_x[:, None, :])[:, None]


@lru_cache(maxsize=len(POLICIES))
def _policy(name: str) -> "AutoAugment":
    from torchvision.transforms import v2

    return v2.AutoAugment(v2.AutoAugmentPolicy(name))


def auto_augment_(images: Tensor, seeds: Tensor, policy: str) -> Tensor:
    """Apply AutoAugment to each image of uint8 [N, 3, H, W] on the CPU, in place, with its own seed (int64 [N]).

    torchvision draws from torch's global CPU generator; its state is put back afterwards.
    """
    transform = _policy(policy)
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images, seeds.tolist(), strict=True):
            torch.default_generator.manual_seed(seed)
            image.copy_(transform(image))
    return images
