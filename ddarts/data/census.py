"""Which classes a set of images has, and how many images of each: what a run remembers of its data."""

import logging
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ddarts.data.images import Images
from ddarts.runtime.errors import DdartsError

_log = logging.getLogger(__name__)


def census(images: Images) -> dict[str, list[Any]]:
    """`class_names` in the order of the labels, and the number of `images` of each."""
    counts = images.labels.bincount(minlength=images.num_classes)
    return {"class_names": list(images.class_names), "images": counts.tolist()}


def check_census(remembered: Mapping[str, Any] | None, found: Mapping[str, Any], run_dir: Path) -> None:
    """Compare the data that the run in `run_dir` goes on with and those it began with (None: it kept no census).

    Other numbers of images are a warning: a file may have gone bad since.

    Raises:
        DdartsError: a label has another class than before.
    """
    if remembered is None:
        return
    moved = moved_label(remembered["class_names"], found["class_names"])
    if moved:
        label, then, now = moved
        raise DdartsError(
            f"{run_dir}: label {label} is {now} now, and was {then} when the run began: give the class folders their "
            "old names, or start a new run"
        )
    if remembered["images"] != found["images"]:
        then, now = sum(remembered["images"]), sum(found["images"])
        _log.warning(
            "%s: began with %d training images and goes on with %d: not in the bits of a run without a stop",
            *(run_dir, then, now),
        )


def moved_label(then: Sequence[str], now: Sequence[str]) -> tuple[int, str, str] | None:
    """The first label whose class is another one `now` than `then`, with both; None where there is none."""
    for label, (before, after) in enumerate(zip_longest(then, now, fillvalue="none")):
        if before != after:
            return label, before, after
    return None
