"""`ddarts derive`: from the σ(α) of a search to a genotype."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ddarts.genotype import files
from ddarts.genotype.alphas_file import ARRAY, AlphasFile, read_alphas
from ddarts.genotype.deepen import deepen
from ddarts.genotype.parse import DEFAULT_METHOD, DEFAULT_THRESHOLD, check_method, invalid_cells, parse
from ddarts.genotype.schema import Genotype, check
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space import primitives, topology
from ddarts.space.primitives import DDARTS, SPACES, Space

if TYPE_CHECKING:
    from ddarts.config import DeriveConfig

DEFAULT_MULTIPLIER = 4


def derive(config: "DeriveConfig") -> Genotype:
    """The genotype that `config.parse_method` reads out of `config.alphas`, written to `config.output` if that is set.

    `config.alphas` is an .npz file with σ(α) as `alphas` [cells, edges, operations], or a search's run folder, whose
    own settings apply where the configuration leaves an option None. A file that a search wrote also says space,
    reductions and which positions share a cell; else the space follows from the number of operations, reductions are
    ⌊L/3⌋ and ⌊2L/3⌋ of the L cells, and nothing is shared. UsageError on wrong options, DdartsError on arrays or cells
    that make no network.
    """
    path = Path(config.alphas or "")
    archive, run = (path / "alphas.npz", run_settings(path)) if path.is_dir() else (path, {})
    method = _first(config.parse_method, run.get("parse_method"), DEFAULT_METHOD)
    threshold = _first(config.op_threshold, run.get("op_threshold"), DEFAULT_THRESHOLD)
    check_method(method, threshold)
    found = read_alphas(archive)
    space = _space(found.alphas, config.space or found.space, str(archive))
    steps = _steps(found.alphas, str(archive))
    cells = parse(found.alphas, space, steps, method, threshold, where=f"{archive}: {ARRAY}")
    problems = invalid_cells(cells, steps)
    if problems:
        raise DdartsError(_no_network(archive, method, threshold, problems))
    multiplier = min(run.get("multiplier") or DEFAULT_MULTIPLIER, steps)
    genotype = Genotype(
        name=_name(config, path),
        space=space.name,
        steps=steps,
        concat=tuple(topology.nodes(steps))[-multiplier:],
        reductions=_reductions(config.reductions, found),
        cells=cells,
        sequence=found.sequence,
    )
    genotype = check(genotype, str(archive))
    if config.layers is not None:
        genotype = deepen(genotype, config.layers, config.derivation)
    if config.output:
        files.write(genotype, config.output)
    return genotype


def run_settings(folder: Path) -> dict[str, Any]:
    """The options of the search that wrote `folder`; empty where it has no config.yaml. UsageError on a broken one."""
    from ddarts.config import SearchConfig, read_options

    path = folder / "config.yaml"
    return read_options(SearchConfig, path) if path.is_file() else {}


def _first(*values: Any) -> Any:
    """The first value that is set."""
    return next(value for value in values if value is not None)


def _space(weights: NDArray[Any], asked: str | None, where: str) -> Space:
    """The space asked for, else the one that has as many operations."""
    shape = weights.shape
    fits = [space for space in SPACES.values() if len(shape) == 3 and shape[2] == len(space)]
    if asked is None and fits:
        return fits[0]
    expected = primitives.space(asked or DDARTS.name)
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


def _reductions(asked: Any, found: AlphasFile) -> tuple[int, ...]:
    """Positions of the reductions: as asked, else as the file says, else the default."""
    layers = len(found.sequence or found.alphas)
    if asked is None:
        return topology.default_reductions(layers) if found.reductions is None else found.reductions
    chosen = _positions(asked)
    if list(chosen) != sorted({i for i in chosen if 0 <= i < layers}):
        raise UsageError(
            f"--reductions {','.join(map(str, chosen))}: ascending positions from 0 to {layers - 1} are expected"
        )
    return chosen


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
