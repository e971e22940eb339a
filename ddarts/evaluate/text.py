"""A genotype as a listing for terminals, at most 100 columns wide."""

import textwrap
from collections.abc import Iterable

from ddarts.evaluate.wiring import UsedCell, cell_order, chosen, edges_of, notes, summary
from ddarts.genotype.liveness import dead_positions
from ddarts.genotype.schema import Genotype
from ddarts.space.topology import nodes

WIDTH = 100
SEPARATOR = " | "


def as_text(genotype: Genotype, cells: Iterable[int] | None = None) -> str:
    """`genotype` as lines of text, without a newline at the end; `cells` restricts it to cells with these indices."""
    listed = chosen(genotype, cells)
    lines = [*_wrap(genotype.name), *_wrap(summary(genotype))]
    order = cell_order(genotype)
    if order != tuple(range(len(order))):
        dead = dead_positions(genotype)
        shown = (f"[{cell}]" if i in genotype.reductions else str(cell) for i, cell in enumerate(order))
        marked = " ".join(f"{cell}†" if i in dead else cell for i, cell in enumerate(shown))
        lines += _wrap(f"cells in order, [reduction]{', dead†' if dead else ''}: {marked}", indent=2)
    for cell in listed:
        lines += ["", *cell_lines(cell)]
    lines += ["", *(line for note in notes(genotype) for line in _wrap(note, indent=2))]
    return "\n".join(lines)


def cell_lines(cell: UsedCell) -> list[str]:
    """A title, then one node a line with the states it reads and the operations on the way."""
    title = f"cell {cell.index} · {cell.role} · nodes {' '.join(map(str, cell.kept))}"
    if cell.positions != (cell.index,) or cell.dead:
        title += f" · {cell.place}"
    digits = len(str(cell.steps + 1))
    inputs: dict[int, list[str]] = {node: [] for node in nodes(cell.steps)}
    for (to, source), operations in edges_of(cell.cell).items():
        inputs[to].append(f"{source:>{digits}} {', '.join(operations)}")
    column = max(len(entry) for entries in inputs.values() for entry in entries)
    lines = _wrap(title, indent=2)
    for node, entries in inputs.items():
        head = f"  {node:>{digits}} "
        lines += _aligned(head + "← ", entries, column) if entries else [head + "  missing"]
    return lines


def _aligned(head: str, entries: list[str], column: int) -> list[str]:
    """Entries in columns of equal width, continued below the first; one too long for a line is wrapped."""
    room = WIDTH - len(head)
    per_line = max(1, (room + len(SEPARATOR)) // (column + len(SEPARATOR)))
    lines: list[str] = []
    for first in range(0, len(entries), per_line):
        row = SEPARATOR.join(entry.ljust(column) for entry in entries[first : first + per_line]).rstrip()
        pieces = [row] if len(row) <= room else textwrap.wrap(row, room, subsequent_indent="  ", drop_whitespace=True)
        lines += [(head if not lines and i == 0 else " " * len(head)) + piece for i, piece in enumerate(pieces)]
    return lines


def _wrap(text: str, indent: int = 0) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent) or [""]
