"""`ddarts derive`: from the σ(α) of a search to a genotype."""

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ddarts.genotype import files, zoo
from ddarts.genotype.deepen import deepen
from ddarts.genotype.parse import DEFAULT_METHOD, DEFAULT_THRESHOLD, check_method, invalid_cells, parse
from ddarts.genotype.schema import Genotype, check
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space import primitives, topology
from ddarts.space.primitives import DARTOPTI, DDARTS, SPACES, Space

if TYPE_CHECKING:
    from ddarts.config import DeriveConfig

ARRAY = "alphas"
MAX_ARRAY_BYTES = 256 * 2**20
DEFAULT_MULTIPLIER = 4


def derive(config: "DeriveConfig") -> Genotype:
    """The genotype that `config.parse_method` reads out of `config.alphas`, written to `config.output` if that is set.

    `config.alphas` is an .npz file with σ(α) as `alphas` [cells, edges, operations], or a search's run folder, whose
    own settings apply where the configuration leaves an option None; the space then follows from the number of
    operations. Reductions default to ⌊L/3⌋ and ⌊2L/3⌋ of the L cells, or to the baseline's. UsageError on wrong
    options, DdartsError on arrays or cells that make no network.
    """
    path = Path(config.alphas or "")
    archive, run = (path / "alphas.npz", run_settings(path)) if path.is_dir() else (path, {})
    method = _first(config.parse_method, run.get("parse_method"), DEFAULT_METHOD)
    threshold = _first(config.op_threshold, run.get("op_threshold"), DEFAULT_THRESHOLD)
    check_method(method, threshold)
    weights = load_alphas(archive)
    space = _space(weights, config.space, run.get("arch_baseline"), str(archive))
    steps = _steps(weights, str(archive))
    cells = parse(weights, space, steps, method, threshold, where=f"{archive}: {ARRAY}")
    problems = invalid_cells(cells, steps)
    if problems:
        raise DdartsError(_no_network(archive, method, threshold, problems))
    multiplier = min(run.get("multiplier") or DEFAULT_MULTIPLIER, steps)
    reductions, sequence = _layout(config.reductions, run.get("arch_baseline"), len(cells))
    genotype = Genotype(
        name=_name(config, path),
        space=space.name,
        steps=steps,
        concat=tuple(topology.nodes(steps))[-multiplier:],
        reductions=reductions,
        cells=cells,
        sequence=sequence,
    )
    genotype = check(genotype, str(archive))
    if config.layers is not None:
        genotype = deepen(genotype, config.layers, config.derivation)
    if config.output:
        files.write(genotype, config.output)
    return genotype


def load_alphas(path: Path) -> NDArray[Any]:
    """The array `alphas` of an .npz file. Nothing in the file is executed, and its size is bounded."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file: an .npz file with the array '{ARRAY}', or a run folder, is expected")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        member = f"{ARRAY}.npy"
        if member not in sizes:
            held = ", ".join(sorted(name.removesuffix(".npy") for name in sizes)[:8]) or "nothing"
            raise DdartsError(f"{path}: holds no array '{ARRAY}', but {held[:200]!r}")
        if sizes[member] > MAX_ARRAY_BYTES:
            raise DdartsError(f"{path}: {ARRAY} is larger than {MAX_ARRAY_BYTES // 2**20} MiB")
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[ARRAY]
    except zipfile.BadZipFile as error:
        raise DdartsError(f"{path}: is not an .npz file, or is damaged") from error
    except (OSError, ValueError, EOFError, MemoryError, zlib.error, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DdartsError(f"{path}: {ARRAY} cannot be read: {reason}") from error


def run_settings(folder: Path) -> dict[str, Any]:
    """The options of the search that wrote `folder`; empty where it has no config.yaml. UsageError on a broken one."""
    from ddarts.config import SearchConfig, read_options

    path = folder / "config.yaml"
    return read_options(SearchConfig, path) if path.is_file() else {}


def _first(*values: Any) -> Any:
    """The first value that is set."""
    return next(value for value in values if value is not None)


def _space(weights: NDArray[Any], asked: str | None, baseline: str | None, where: str) -> Space:
    """The space asked for, else the one that a baseline belongs to, else the one that has as many operations."""
    shape = weights.shape
    fits = [space for space in SPACES.values() if len(shape) == 3 and shape[2] == len(space)]
    name = asked or (DARTOPTI.name if baseline else None)
    if name is None and fits:
        return fits[0]
    expected = primitives.space(name or DDARTS.name)
    if expected not in fits:
        hint = f"; it fits space {fits[0].name}" if fits else ""
        raise DdartsError(
            f"{where}: {ARRAY} has shape {shape}: cells × edges × {len(expected)} operations are expected "
            f"for space {expected.name}{hint}"
        )
    return expected


def _steps(weights: NDArray[Any], where: str) -> int:
    """Steps of the cells that `weights` belong to; DdartsError where no cell has as many edges."""
    try:
        return topology.steps_of(weights.shape[1])
    except ValueError as error:
        raise DdartsError(f"{where}: {ARRAY} has shape {weights.shape}: {error}") from None


def _layout(reductions: Any, baseline: str | None, cells: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Reductions and sequence: as asked, else as the baseline has them, else the default for `cells`."""
    sequence, default = None, topology.default_reductions(cells)
    if baseline:
        start = zoo.baseline(baseline)
        default = start.reductions
        if cells not in (len(start.cells), start.layers):
            raise DdartsError(
                f"{ARRAY}: {cells} cells: the baseline {baseline} has {len(start.cells)} distinct ones "
                f"at {start.layers} positions"
            )
        sequence = start.sequence if cells == len(start.cells) else None
    layers = len(sequence) if sequence else cells
    chosen = default if reductions is None else _positions(reductions)
    if list(chosen) != sorted({i for i in chosen if 0 <= i < layers}):
        raise UsageError(
            f"--reductions {','.join(map(str, chosen))}: ascending positions from 0 to {layers - 1} are expected"
        )
    return chosen, sequence


def _positions(reductions: Any) -> tuple[int, ...]:
    try:
        parts = reductions.split(",") if isinstance(reductions, str) else reductions
        return tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        raise UsageError(f"--reductions {files.shown(reductions)}: positions such as 2,6 are expected") from None


def _name(config: "DeriveConfig", path: Path) -> str:
    return Path(config.output).stem if config.output else path.resolve().stem


def _no_network(archive: Path, method: str, threshold: float, problems: list[str]) -> str:
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return (
        f"{archive}: no valid genotype by {method} at op_threshold {threshold}: {'; '.join(problems[:3])}{more} "
        f"(lower --op_threshold, or search longer)"
    )
