"""From an image file to pixels, or to bytes that any decoder takes. A file that cannot be read is named."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ddarts.data.images import one_line
from ddarts.runtime.errors import DdartsError

_END_OF_JPEG = b"\xff\xd9"


def photograph(path: str | Path) -> Tensor:
    """One image file as uint8 [3, H, W]; grey, palette, CMYK and 16-bit files become 8-bit RGB.

    Raises:
        DdartsError: names the file.
    """
    with _named(path):
        return torch.from_numpy(np.array(_decoded(_content(path)))).permute(2, 0, 1).contiguous()


def thumbnail(path: str | Path, size: int) -> np.ndarray:
    """One image file as uint8 [size, size, 3]: its shorter side becomes `size`, and the middle is kept.

    Raises:
        DdartsError: names the file.
    """
    with _named(path):
        image = _decoded(_content(path))
    width, height = image.size
    short = min(width, height)
    width, height = max(size, size * width // short), max(size, size * height // short)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))


def encoded(path: str | Path) -> tuple[np.ndarray, int, int]:
    """One image file for a decoder of another library: its bytes (uint8 [bytes]), height and width.

    Plain JPEG files are handed on as they are. All others are decoded here, and handed on as a bitmap, so that every
    decoder shows the same pixels and none of them gets a file that ends too early.

    Raises:
        DdartsError: names the file.
    """
    with _named(path):
        data = _content(path)
        with Image.open(io.BytesIO(data)) as image:  # reads the header only
            plain = image.format == "JPEG" and image.mode in ("RGB", "L")
            width, height = image.size
        if plain and data.endswith(_END_OF_JPEG):
            return np.frombuffer(data, np.uint8), height, width
        bitmap = io.BytesIO()
        _decoded(data).save(bitmap, "BMP")
        return np.frombuffer(bitmap.getvalue(), np.uint8), height, width


def check(path: str | Path, content: bytes | None = None) -> None:
    """Decode the whole file, or its `content` where that was read already. DdartsError names it where that fails."""
    with _named(path):
        _decoded(_content(path, content))


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except IsADirectoryError:
        raise DdartsError(f"{path}: a folder where an image file is expected") from None
    except _EmptyError:
        raise DdartsError(f"{path}: the file is empty") from None
    except FileNotFoundError:
        raise DdartsError(f"{path}: no such file; it was there when the data set was listed") from None
    except UnidentifiedImageError:
        raise DdartsError(f"{path}: not a readable image (of no known format)") from None
    except Exception as error:  # decoders raise many kinds on damaged files
        raise DdartsError(f"{path}: not a readable image ({one_line(error)})") from error


class _EmptyError(Exception):
    """The file has no bytes."""


def _content(path: str | Path, data: bytes | None = None) -> bytes:
    data = Path(path).read_bytes() if data is None else data
    if not data:
        raise _EmptyError
    return data


def _decoded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as source:
        source.load()
        return _eight_bit(source).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit grey to 255 when it converts it; keep the upper eight bits instead."""
    if image.mode == "F":
        raise ValueError("floating-point pixels")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError("pixels of more than 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))
