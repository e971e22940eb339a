"""What stands before the first cell: it turns an image into states 0 and 1."""

from torch import Tensor, nn

from ddarts.runtime.errors import UsageError

STEMS = ("cifar", "imagenet", "darts")
_WIDTH = 3  # the CIFAR stem gives 3·C channels


class CifarStem(nn.Module):
    """3x3 convolution 3 → 3·C and BN; states 0 and 1 are the same tensor, at the image's resolution."""

    halve_first = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels_out = (_WIDTH * channels, _WIDTH * channels)
        self.conv = nn.Conv2d(3, _WIDTH * channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(_WIDTH * channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bn(self.conv(x))
        return x, x


class ImageNetStem(nn.Module):
    """Three 3x3 convolutions with strides 2, `second_stride`, 2: state 0 after the second, state 1 after the third.

    State 0 has twice the resolution of state 1, so the first cell reduces its first input.
    """

    halve_first = True

    def __init__(self, channels: int, second_stride: int) -> None:
        super().__init__()
        if channels % 2:
            raise UsageError(f"--init_channels {channels}: the ImageNet stem needs an even number")
        self.channels_out = (channels, channels)
        self.state0 = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 3, stride=second_stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.state1 = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.state0(x)
        return first, self.state1(first)


def make_stem(name: str, channels: int) -> CifarStem | ImageNetStem:
    """`cifar`; `imagenet` (total stride 4, as published) or `darts` (total stride 8, the mobile setting)."""
    if name not in STEMS:
        raise UsageError(f"unknown stem '{name}': use one of {', '.join(STEMS)}")
    if name == "cifar":
        return CifarStem(channels)
    return ImageNetStem(channels, second_stride=1 if name == "imagenet" else 2)


def stem_for(dataset: str, imagenet_stem: str | None = None) -> str:
    """The stem for a data set, where `imagenet_stem` is `published`, `darts`, or None: not given.

    ImageNet has an ImageNet stem (the published one where none is given), a folder of images the one that is given,
    else the CIFAR stem, and every other data set the CIFAR stem.
    """
    if dataset != "imagenet" and (dataset != "folder" or imagenet_stem is None):
        return "cifar"
    return "darts" if imagenet_stem == "darts" else "imagenet"
