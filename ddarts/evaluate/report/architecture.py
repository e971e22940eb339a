"""The architecture of a run for its page: operations kept, drawings, what it costs, what was published."""

from collections import Counter
from dataclasses import dataclass
from html import escape

from ddarts.config.presets import preset
from ddarts.data.specs import spec
from ddarts.evaluate.canvas import settings
from ddarts.evaluate.html import inline, legend, strip, subscripts
from ddarts.evaluate.report.heat import short
from ddarts.evaluate.report.rundata import RunData
from ddarts.evaluate.sheet import KEY, single
from ddarts.evaluate.text import cell_lines
from ddarts.evaluate.wiring import chosen, notes
from ddarts.genotype import zoo
from ddarts.genotype.schema import Genotype
from ddarts.network.counting import NetworkCost, network_cost
from ddarts.network.registry import PUBLISHED_CHANNELS, channels
from ddarts.network.trained import read_trained
from ddarts.runtime.errors import DdartsError
from ddarts.space.primitives import OPERATIONS
from ddarts.space.stems import stem_for

ARTICLE_CHANNELS = 36  # of the article's networks on CIFAR


@dataclass(frozen=True)
class Kept:
    """How often each operation was kept: `counts` has a row for every cell position, a column for every operation."""

    operations: tuple[str, ...]
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    reductions: frozenset[int]

    @property
    def totals(self) -> tuple[int, ...]:
        """Over all cells."""
        return tuple(map(sum, zip(*self.counts, strict=True)))

    @property
    def most(self) -> int:
        """The largest count in the table."""
        return max(map(max, self.counts))


@dataclass(frozen=True)
class DrawnCell:
    """A distinct cell: markup of its drawing, and the same as text."""

    title: str
    role: str
    place: str
    reduction: bool
    svg: str
    listing: str


@dataclass(frozen=True)
class Drawings:
    """Markup of the whole network, of the legend, and every distinct cell; `notes` are sentences below, as markup."""

    network: str
    legend: str
    cells: tuple[DrawnCell, ...]
    notes: tuple[str, ...]


def kept(genotype: Genotype, operations: tuple[str, ...]) -> Kept:
    """The table of `operations` and of others that occur (a genotype written by hand may hold such)."""
    cells = [Counter(gene.op for gene in genotype.position(index)) for index in range(genotype.layers)]
    occurring = {op for cell in cells for op in cell}
    shown = tuple(op for op in OPERATIONS if op in occurring or op in operations)
    counts = tuple(tuple(cell[op] for op in shown) for cell in cells)
    return Kept(shown, tuple(map(short, shown)), counts, frozenset(genotype.reductions))


def drawings(genotype: Genotype) -> Drawings:
    """Draw the network and every distinct cell. They keep their size and scroll where the page is narrower."""
    used = chosen(genotype, None)
    with settings():
        cells = tuple(
            DrawnCell(
                f"Cell {cell.index}",
                cell.role,
                f"{cell.place} · nodes {' '.join(map(str, cell.kept))}",
                bool(cell.reduction),
                inline(single(cell), f"c{cell.index}", f"Cell {cell.index}, {cell.role}"),
                "\n".join(cell_lines(cell)),
            )
            for cell in used
        )
        network = inline(strip(genotype), "network", f"The network {genotype.name}: its cells in order")
        key = inline(legend(used), "legend", "Colours of the families of operations")
    return Drawings(network, key, cells, tuple(subscripts(escape(note)) for note in (*notes(genotype), KEY)))


def costs(run: RunData) -> list[tuple[int, NetworkCost]]:
    """(channels of the first cell, counts) of the run's network at the data set's image size.

    A training has its own channels; for a search those that a training on its data would take, and the article's 36.
    Empty where the number of classes is not known.
    """
    options, genotype = run.options, run.genotype
    facts = spec(options.dataset)
    classes = facts.num_classes or _stored_classes(run)
    if genotype is None or classes is None:
        return []
    wiring = "increasing"
    if run.command == "train":
        widths, wiring = [channels(options.arch or genotype, options.init_channels)], options.baseline_wiring
    else:
        usual = preset("train", options.dataset).get("init_channels", PUBLISHED_CHANNELS)
        widths = sorted({usual, ARTICLE_CHANNELS})
    return [
        (
            width,
            network_cost(
                genotype,
                classes,
                width,
                stem=stem_for(options.dataset, getattr(options, "imagenet_stem", None)),
                wiring=wiring,
                image_size=options.image_size or facts.image_size,
            ),
        )
        for width in widths
    ]


def published() -> list[zoo.Alias]:
    """The networks that the article reports an accuracy of."""
    return [alias for alias in zoo.aliases().values() if alias.top1 is not None]


def _stored_classes(run: RunData) -> int | None:
    """The number of classes that a training's weights tell apart."""
    try:
        description = read_trained(run.path / "last.safetensors").description
    except DdartsError:
        return None
    return None if description is None else description.num_classes
