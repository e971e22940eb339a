"""`ddarts show`: the cells of an architecture as SVG, PNG, a page, or a listing for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddarts.evaluate.output import check_free, write
from ddarts.evaluate.text import as_text
from ddarts.evaluate.wiring import chosen
from ddarts.genotype.deepen import deepen
from ddarts.genotype.schema import Genotype
from ddarts.genotype.zoo import resolve
from ddarts.network.wiring import wired
from ddarts.runtime.errors import DdartsError, UsageError

if TYPE_CHECKING:
    from ddarts.config.small import ShowConfig

__all__ = ["FORMATS", "as_text", "draw", "render", "show"]

FORMATS = ("svg", "png", "text", "html")
SUFFIXES = {".svg": "svg", ".png": "png", ".html": "html", ".htm": "html", ".txt": "text"}


def show(config: ShowConfig) -> dict[str, Any]:
    """Draw what `config` asks for: {"path": file written}, or {"text": listing} for text without --output.

    A file that exists is never replaced, unless the name was left out and an earlier drawing stands there.
    """
    genotype = resolve(config.arch or "")
    if config.layers:
        genotype = deepen(genotype, config.layers, config.derivation)
    genotype = wired(genotype, config.baseline_wiring)
    cells = None if config.cell is None else (config.cell,)
    if config.format == "text" and not config.output:
        return {"text": as_text(genotype, cells)}
    path = Path(config.output) if config.output else _default_path(genotype.name, config)
    made_before = not config.output and _is_own(path)
    return {"path": str(draw(genotype, path, config.format, cells, overwrite=made_before))}


def draw(
    genotype: Genotype,
    path: str | Path,
    format: str = "svg",
    cells: Iterable[int] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a drawing of `genotype` to `path`, whole or not at all; `cells` restricts it to cells with these indices.

    The folder is created. UsageError: unknown format or cell, a name that ends like another format, or a file that
    exists. DdartsError: the file cannot be written.
    """
    path = Path(path)
    if format not in FORMATS:
        raise UsageError(f"--format {format}: use one of {', '.join(FORMATS)}")
    implied = SUFFIXES.get(path.suffix.lower())
    if implied and implied != format:
        raise UsageError(f"--output {path}: its name says {implied}, but --format is {format}; make them agree")
    check_free(path, overwrite)
    write(path, render(genotype, format, cells))
    return path


def render(genotype: Genotype, format: str, cells: Iterable[int] | None = None) -> bytes:
    """The content of the file: the same bytes for the same genotype and the same matplotlib."""
    if format == "text":
        return (as_text(genotype, cells) + "\n").encode()
    used = chosen(genotype, cells)
    try:
        from ddarts.evaluate.canvas import settings
        from ddarts.evaluate.html import page
        from ddarts.evaluate.sheet import sheet
    except ImportError as error:
        raise DdartsError(
            f"drawings need matplotlib ({error}): pip install matplotlib, or use --format text"
        ) from error
    with settings():
        if format == "html":
            return page(genotype, used).encode()
        canvas = sheet(genotype, used)
        return canvas.png() if format == "png" else canvas.svg(genotype.name).encode()


def _default_path(name: str, config: ShowConfig) -> Path:
    """NAME[-LAYERS-layers][-WIRING][-cell-INDEX].FORMAT in the current folder; other characters become _."""
    name = re.sub(r"[^\w.+-]", "_", name).lstrip(".") or "genotype"
    name += f"-{config.layers}-layers" if config.layers else ""
    name += f"-{config.baseline_wiring}" if config.baseline_wiring != "increasing" else ""
    name += f"-cell-{config.cell}" if config.cell is not None else ""
    return Path(f"{name}.{config.format}")


def _is_own(path: Path) -> bool:
    """Whether an earlier `show` wrote this file."""
    try:
        from ddarts.evaluate.canvas import MARK

        with path.open("rb") as file:
            return MARK.encode() in file.read(4096)
    except (OSError, ImportError):
        return False
