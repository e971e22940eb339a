"""Fashion-MNIST from its four IDX files, each plain or gzip-compressed.

An IDX file: two zero bytes, a type byte (8 = unsigned byte), the number of dimensions, one big-endian uint32 per
dimension, then the values. The 28x28 grey images are padded by 2 black pixels to 32x32 and repeated to three channels.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch

from ddarts.data.images import ImageSet, check_labels, one_line
from ddarts.data.pinned import check_pinned
from ddarts.data.specs import DataSpec
from ddarts.runtime.errors import DdartsError

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SIDE = 28
BORDER = 2


def find_file(root: Path, name: str) -> Path | None:
    """`name` or `name`.gz in `root`, or in the sub-folder where torchvision puts it; None if it is nowhere."""
    for folder in (root, root / "FashionMNIST" / "raw"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def missing_files(root: Path, split: str) -> list[str]:
    """Names of the files of `split` that `root` lacks."""
    return [name for name in FILES[split] if find_file(root, name) is None]


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """The unsigned bytes of one IDX file as an array with `ndim` dimensions.

    Raises:
        DdartsError: the file is not such a file, is shorter or longer than its header says, or is damaged.
    """
    check_pinned(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(4 + 4 * ndim)
            shape = _shape(header, ndim, path)
            expected = int(np.prod(shape, dtype=object))
            values = stream.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DdartsError(f"{path}: cannot be read ({one_line(error)}); fetch the file again") from error
    if len(values) != expected:
        found = f"only {len(values)}" if len(values) < expected else "more"
        raise DdartsError(f"{path}: the header promises {expected} bytes of data, the file holds {found}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _shape(header: bytes, ndim: int, path: Path) -> tuple[int, ...]:
    magic = bytes((0, 0, 8, ndim))
    if header[:4] != magic:
        found = header[:4].hex()
        raise DdartsError(f"{path}: not an IDX file of this kind: it starts with 0x{found}, not 0x{magic.hex()}")
    if len(header) != 4 + 4 * ndim:
        raise DdartsError(f"{path}: ends within its header")
    return tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))


def load_fashion_mnist(spec: DataSpec, root: Path, split: str) -> ImageSet:
    """Fashion-MNIST as uint8 [N, 3, 32, 32]; call `missing_files` first.

    Raises:
        DdartsError: a file is damaged, or the two files do not belong together; the message names the file.
    """
    paths = [find_file(root, name) for name in FILES[split]]
    image_path, label_path = (path or root / name for path, name in zip(paths, FILES[split], strict=True))
    pixels, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise DdartsError(f"{image_path}: images are {pixels.shape[1]}x{pixels.shape[2]}, expected {SIDE}x{SIDE}")
    if len(pixels) != len(labels):
        raise DdartsError(f"{label_path}: {len(labels)} labels for the {len(pixels)} images of {image_path.name}")
    if len(pixels) == 0:
        raise DdartsError(f"{image_path}: holds no image")
    check_labels(labels, len(CLASS_NAMES), str(label_path))
    images = torch.zeros(len(pixels), 3, spec.image_size, spec.image_size, dtype=torch.uint8)
    inner = slice(BORDER, BORDER + SIDE)
    images[:, :, inner, inner] = torch.from_numpy(pixels.copy())[:, None]
    return ImageSet(images, torch.from_numpy(labels.astype(np.int64)), CLASS_NAMES, spec)
