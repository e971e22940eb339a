"""What is done to a training image.

The order: crop, flip, AutoAugment, colour jitter (on bytes), to [0, 1], normalise, cutout.
"""

from dataclasses import dataclass
from typing import Any

from ddarts.data import policies
from ddarts.data.specs import DataSpec
from ddarts.runtime.errors import UsageError


@dataclass(frozen=True)
class Augmentation:
    """Which augmentations are on.

    Attributes:
        padding: black pixels added on every side before a random crop of the original size; 0 turns it off.
        flip: mirror every second image, at random.
        cutout_length: side in pixels of the square that is set to the mean colour; 0 turns it off.
        auto_augment: AutoAugment policy, "cifar10" or "imagenet"; None turns it off.
        random_window: for photographs, instead of `padding`: a window of random size, shape and place, resized
            (`geometry.random_crop`); without it they are resized and the middle is shown.
        colour_jitter: change brightness, contrast, saturation and hue at random (`colour.jitter`).

    Raises:
        UsageError: a negative number or an unknown policy.
    """

    padding: int = 4
    flip: bool = True
    cutout_length: int = 0
    auto_augment: str | None = None
    random_window: bool = False
    colour_jitter: bool = False

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UsageError(f"padding {self.padding}: must be 0 or more")
        if self.cutout_length < 0:
            raise UsageError(f"--cutout_length {self.cutout_length}: must be 0 or more")
        if self.auto_augment is not None and self.auto_augment not in policies.POLICIES:
            known = ", ".join(policies.POLICIES)
            raise UsageError(f"AutoAugment policy {self.auto_augment}: unknown, choose one of {known}")

    @classmethod
    def none(cls) -> "Augmentation":
        """Nothing but normalising (and bringing photographs to size): for evaluation."""
        return cls(padding=0, flip=False)


def training_augmentation(config: Any, spec: DataSpec) -> Augmentation:
    """The augmentation that the options --cutout, --cutout_length and --auto_aug ask for on a data set; images that
    must not be mirrored are not. Photographs are cropped as on ImageNet, with colour jitter."""
    return Augmentation(
        padding=0 if spec.photographs else 4,
        flip=spec.flip,
        cutout_length=config.cutout_length if config.cutout else 0,
        auto_augment=spec.auto_augment if config.auto_aug else None,
        random_window=spec.photographs,
        colour_jitter=spec.photographs,
    )
