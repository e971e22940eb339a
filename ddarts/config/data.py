"""Options of `ddarts data`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ddarts.config import common
from ddarts.config.options import option

ACTIONS = ("prepare", "check")


@dataclass(frozen=True)
class DataConfig(common.DataOptions):
    """Prepare a data set, or check every file of it.

    prepare: fetch it (with --download), and write down once which class folder has which label. check: counts, hashes,
    and of class folders every file that is no readable image, listed for --skip_bad_files.
    """

    command: ClassVar[str] = "data"

    action: str | None = option(
        None, "what to do", choices=ACTIONS, required="say what to do: prepare or check", positional=True
    )
    name: str | None = option(None, "the data set, in place of --dataset", choices=common.DATASETS, positional=True)
    workers: int = option(0, "threads that check files (0: one for each core)", minimum=0, maximum=common.MAX_WORKERS)
    output: str | None = option(
        None, "check: where the list of bad files goes (left out: bad_files.json in --data), replacing an earlier one"
    )

    def __post_init__(self) -> None:
        if self.name is not None:
            object.__setattr__(self, "dataset", self.name)
        super().__post_init__()

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        yield from self.data_conflicts()

    def remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about options that were given on purpose but change nothing."""
        yield from self.data_remarks(given)
        if "output" in given and (self.action != "check" or self.dataset not in common.CLASS_FOLDERS):
            yield "--output has no effect: it belongs to a check of imagenet or folder"
