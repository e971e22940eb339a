"""The command `ddarts data`: prepare a data set, or check what is there."""

import logging
from pathlib import Path
from typing import Any

from ddarts.config import DataConfig, validate
from ddarts.config.common import CLASS_FOLDERS
from ddarts.data.check import check_folders, check_set
from ddarts.data.classes import CLASS_LIST, compare, read_list, write_list
from ddarts.data.datasets import SPLITS, asked_for
from ddarts.data.folder import class_names, find_layout, list_folder, subfolders
from ddarts.data.specs import DataSpec, spec
from ddarts.runtime.errors import DdartsError

_log = logging.getLogger(__name__)


def data(config: DataConfig) -> dict[str, Any]:
    """Do what `config.action` says; returns what was found. DdartsError or UsageError, in one line, where the data set
    is not there or cannot be used at all; single bad files are part of the result."""
    config = validate(config)
    facts = spec(config.dataset or "")
    if config.dataset not in CLASS_FOLDERS:
        sets = {split: asked_for(config, split) for split in SPLITS}
        return check_set(facts, config.data, sets)
    root = Path(config.data or "").expanduser()
    if config.action == "prepare":
        return _pin(facts, root, config.class_list)
    return check_folders(facts, root, config.class_list, config.output, config.workers)


def _pin(facts: DataSpec, root: Path, given: str | None) -> dict[str, Any]:
    """Write the list of classes, unless it is there: then compare."""
    layout, pinned = find_layout(facts, root), root / CLASS_LIST
    written = not pinned.exists()
    if written:
        names = read_list(Path(given)) if given else subfolders(layout.train)
        for folder in layout.folders:
            compare(folder, subfolders(folder), names, given or str(layout.train))
        write_list(pinned, names)
        _log.info("%s: written; from now on it says which folder has which label", pinned)
    elif given and read_list(Path(given)) != read_list(pinned):
        raise DdartsError(f"{pinned}: is there already and lists other classes than {given}; labels must not change")
    else:
        class_names(facts, root, layout)
        _log.info("%s: was there already, and the class folders agree with it", pinned)
    images = {split: len(list_folder(facts, root, split)) for split in SPLITS if split == "train" or layout.has_test}
    return {
        "dataset": facts.name,
        "root": str(root),
        "class_list": str(pinned),
        "written": written,
        "classes": len(read_list(pinned)),
        "images": images,
    }
