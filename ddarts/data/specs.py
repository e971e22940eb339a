"""What is known about every data set before a byte of it is read.

Means and standard deviations are those of the training images as the network sees them, scaled to [0, 1], one value per
channel (RGB). Those of CIFAR and ImageNet are the published ones.
"""

from dataclasses import dataclass, replace

from ddarts.runtime.errors import UsageError


@dataclass(frozen=True)
class DataSpec:
    """Facts about one data set.

    Attributes:
        name: the value of `--dataset`.
        num_classes: number of classes, None where the files decide.
        image_size: side of the square images, in pixels.
        mean: per-channel mean of the training images in [0, 1].
        std: per-channel standard deviation, same scale.
        flip: whether a mirrored image still shows its class.
        default_root: folder looked at when no `--data` is given, None where there is none.
        auto_augment: the AutoAugment policy that suits it, "cifar10" or "imagenet".
        val_resize: for photographs, which are read from their files each time they are shown: what the shorter side is
            resized to before the middle is cut out for evaluation. None where images are held in memory at their size.
    """

    name: str
    num_classes: int | None
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip: bool
    default_root: str | None
    auto_augment: str
    val_resize: int | None = None

    @property
    def photographs(self) -> bool:
        """Whether images are files of any size that are decoded each time they are shown."""
        return self.val_resize is not None


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

SPECS: dict[str, DataSpec] = {
    spec.name: spec
    for spec in (
        # A mirrored digit is another sign, so no flip. The images come with scikit-learn: no folder is read.
        DataSpec("digits", 10, 32, (0.305354,) * 3, (0.323664,) * 3, False, None, "cifar10"),
        # Over the 32x32 images with their black border; over the bare 28x28 pixels it would be 0.2860 and 0.3530.
        DataSpec(
            "fashion_mnist",
            10,
            32,
            (0.219000,) * 3,
            (0.331811,) * 3,
            True,
            "/usr/share/datasets/fashion-mnist",
            "cifar10",
        ),
        DataSpec("cifar10", 10, 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), True, None, "cifar10"),
        DataSpec("cifar100", 100, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), True, None, "cifar10"),
        DataSpec("imagenet", 1000, 224, _IMAGENET_MEAN, _IMAGENET_STD, True, None, "imagenet", 256),
        # Class folders hold any photographs: ImageNet's statistics are the usual choice for those.
        DataSpec("folder", None, 32, _IMAGENET_MEAN, _IMAGENET_STD, True, None, "imagenet"),
    )
}


PHOTOGRAPHS_FROM = 64  # side in pixels from which a folder's images are treated as ImageNet's are
_SIZES = ("digits", "folder", "imagenet")  # what can be had in another size


def sized(facts: DataSpec, image_size: int | None, val_resize: int | None = None) -> DataSpec:
    """`facts` for images of another size. UsageError where these images cannot be had in it."""
    size = image_size or facts.image_size
    if size != facts.image_size and facts.name not in _SIZES:
        raise UsageError(f"--image_size {size}: {facts.name} has {facts.image_size}x{facts.image_size} images only")
    if size < 8:
        raise UsageError(f"--image_size {size}: must be 8 or more")
    if facts.name != "imagenet" and (facts.name != "folder" or size < PHOTOGRAPHS_FROM):
        return replace(facts, image_size=size)
    resize = val_resize or round(size * 256 / 224)
    if resize < size:
        raise UsageError(f"--val_resize {resize}: must be at least --image_size, which is {size}")
    return replace(facts, image_size=size, val_resize=resize)


def spec(name: str) -> DataSpec:
    """The facts about data set `name`.

    Raises:
        UsageError: no such data set; the message lists the names.
    """
    try:
        return SPECS[name]
    except KeyError:
        raise UsageError(f"--dataset {name}: unknown data set, choose one of {', '.join(SPECS)}") from None
