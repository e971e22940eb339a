"""Fetching public archives, only when the user allows it, and keeping only what has the right hash, which is pinned."""

import hashlib
import http.client
import logging
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ddarts.data.pinned import pin_of
from ddarts.runtime.errors import DdartsError, UsageError

_log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 60
_CHUNK = 2**20


@dataclass(frozen=True)
class Archive:
    """A file to fetch: where from and its SHA-256; it keeps the name it has in the address."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.url.rsplit("/", 1)[1]


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"

ARCHIVES: dict[str, tuple[Archive, ...]] = {
    # The binary versions: the same images as the Python versions, without pickles
    "cifar10": (
        Archive(_CIFAR + "cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    ),
    "cifar100": (
        Archive(_CIFAR + "cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    ),
    "fashion_mnist": (
        Archive(
            _FASHION + "train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        Archive(
            _FASHION + "train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        Archive(
            _FASHION + "t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        Archive(
            _FASHION + "t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    ),
}


def fetch(name: str, root: Path) -> None:
    """Download what data set `name` needs into `root`; files that are there already are left alone.

    Raises:
        UsageError: there is nothing to download for this data set.
        DdartsError: the download failed, or what came has the wrong hash; nothing is kept then.
    """
    if name not in ARCHIVES:
        raise UsageError(f"--download: there is nothing to download for {name}")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DdartsError(f"{root}: cannot be created ({error.strerror}); choose another folder with --data") from error
    for archive in ARCHIVES[name]:
        if not (root / archive.file_name).exists():
            _fetch_one(archive, root)


def _fetch_one(archive: Archive, root: Path) -> None:
    """Download beside the target, check, then rename: a half-finished file never has the final name."""
    _log.info("downloading %s to %s", archive.url, root)
    digest = hashlib.sha256()
    part = None
    try:
        with tempfile.NamedTemporaryFile(dir=root, suffix=".part", delete=False) as stream:
            part = Path(stream.name)
            with urllib.request.urlopen(archive.url, timeout=_TIMEOUT_SECONDS) as response:
                while chunk := response.read(_CHUNK):
                    digest.update(chunk)
                    stream.write(chunk)
        if digest.hexdigest() != archive.sha256:
            raise DdartsError(
                f"{archive.url}: SHA-256 is {digest.hexdigest()}, expected {archive.sha256}; nothing was kept"
            )
        part.chmod(0o644)
        path = root / archive.file_name
        pin_of(path).write_text(f"{archive.sha256}  {path.name}\n")
        os.replace(part, path)
    except (OSError, http.client.HTTPException) as error:
        raise DdartsError(f"{archive.url}: download to {root} failed ({error})") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
