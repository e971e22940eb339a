"""Safe reader of the published program's text form.

The published program writes an architecture as the repr of a named tuple and reads it back with `eval`:

    Genotype_nested(genes=[[('sep_conv_3x3', 2, 1), …], …], concat=range(2, 6), reductions=[2, 6])
    Genotype_opt(genes=[…], seq=[0, 1, 2, 0], concat=range(2, 8), reductions=range(1, 4))

Keywords come in any order or by position; a gene is (operation, to, from), or (operation, from) with two genes a node
in node order, which is what the parse method `darts` writes. Here nothing is evaluated: the text is first reduced to
the few words and marks that such an expression has, bounded in size and nesting, and only then parsed to a syntax
tree, of which five kinds of node are understood.
"""

import ast
import re
from typing import Any, NoReturn

from ddarts.genotype.files import shown
from ddarts.genotype.schema import MAX_CELLS, MAX_STEPS, Cell, Gene, Genotype, check
from ddarts.runtime.errors import DdartsError
from ddarts.space.primitives import DARTOPTI, DDARTS
from ddarts.space.topology import INPUTS

FIELDS = {
    "Genotype_nested": ("genes", "concat", "reductions"),
    "Genotype_opt": ("genes", "seq", "concat", "reductions"),
}
MAX_CHARACTERS = 2**20
MAX_NESTING = 4  # call, genes, cell, gene
_WORDS = {"range", *FIELDS, *FIELDS["Genotype_opt"]}
_TOKEN = re.compile(
    r"""(?P<space>\s+) | (?P<open>[(\[]) | (?P<close>[)\]]) | [,=] | \d{1,6}(?!\w) | (?P<word>[A-Za-z_]\w*)
      | '[A-Za-z0-9_]*' | "[A-Za-z0-9_]*" """,
    re.VERBOSE | re.ASCII,
)


def from_text(text: str, name: str, where: str, buildable: bool = True) -> Genotype:
    """The genotype that `text` describes, called `name`; DdartsError names `where`, cell and node.

    The text says neither steps nor space: the last node of `concat` gives the steps, and an operation that only the
    DARTOpti space has makes it a DARTOpti genotype. `buildable` as in `schema.check`.
    """
    _screen(text, where)
    form, fields = _call(_tree(text, where), where)
    concat = _numbers(fields["concat"], "concat", where)
    if not concat:
        _refuse(where, "concat is empty: it must list the last nodes of a cell")
    cells = _cells(fields["genes"], where)
    genotype = Genotype(
        name=name,
        space=_space_of(cells),
        steps=concat[-1] - INPUTS + 1,
        concat=concat,
        reductions=_numbers(fields["reductions"], "reductions", where),
        cells=cells,
        sequence=_numbers(fields["seq"], "seq", where) if form == "Genotype_opt" else None,
    )
    return check(genotype, where, buildable)


def _refuse(where: str, message: str) -> NoReturn:
    raise DdartsError(f"{where}: {message}")


def _screen(text: str, where: str) -> None:
    """Refuse any text that holds more than the words, numbers and marks of a genotype, before it is parsed."""
    if len(text) > MAX_CHARACTERS:
        _refuse(where, f"is longer than {MAX_CHARACTERS} characters: that is not a genotype")
    position, depth = 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            line = text.count("\n", 0, position) + 1
            _refuse(where, f"line {line}: {shown(text[position:].split()[0])} does not belong in a genotype")
        word = match.group("word")
        if word and word not in _WORDS:
            _refuse(where, f"the word {shown(word)} does not belong in a genotype: {_expected()}")
        depth += bool(match.group("open")) - bool(match.group("close"))
        if depth > MAX_NESTING:
            _refuse(where, f"nested more than {MAX_NESTING} levels deep: that is not a genotype")
        position = match.end()


def _tree(text: str, where: str) -> ast.Call:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DdartsError(f"{where}: is not a genotype: {_expected()}") from error
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.func.id not in FIELDS:
        _refuse(where, f"is not a genotype: {_expected()}")
    return tree


def _call(tree: ast.Call, where: str) -> tuple[str, dict[str, ast.expr]]:
    """The tuple's name and the expressions of its fields."""
    form = tree.func.id  # type: ignore[attr-defined]
    names = FIELDS[form]
    if len(tree.args) > len(names):
        _refuse(where, f"{form} has more than its {len(names)} fields {', '.join(names)}")
    fields = dict(zip(names, tree.args, strict=False))
    for keyword in tree.keywords:
        if keyword.arg not in names or keyword.arg in fields:
            _refuse(where, f"{form} has the fields {', '.join(names)}, each once: '{keyword.arg}' is not expected")
        fields[keyword.arg] = keyword.value
    for field in names:
        if field not in fields:
            _refuse(where, f"{form} lacks the field '{field}'")
    return form, fields


def _items(node: ast.expr, what: str, where: str) -> list[ast.expr]:
    if not isinstance(node, ast.List | ast.Tuple):
        _refuse(where, f"{what} must be a list or tuple")
    return node.elts


def _constant(node: ast.expr, kind: type, what: str, where: str) -> Any:
    if not isinstance(node, ast.Constant) or type(node.value) is not kind:
        _refuse(where, f"{what} must be {'a whole number' if kind is int else 'a name in quotes'}")
    return node.value


def _numbers(node: ast.expr, what: str, where: str) -> tuple[int, ...]:
    """A list of whole numbers, or a range no longer than a network may be deep."""
    if not isinstance(node, ast.Call):
        items = _items(node, what, where)
        if len(items) > MAX_CELLS:
            _refuse(where, f"{what} has {len(items)} numbers: at most {MAX_CELLS} are allowed")
        return tuple(_constant(item, int, f"each of {what}", where) for item in items)
    if not isinstance(node.func, ast.Name) or node.func.id != "range" or node.keywords or len(node.args) not in (1, 2):
        _refuse(where, f"{what} must be a list or range(first, end)")
    values = range(*(_constant(item, int, f"each bound of {what}", where) for item in node.args))
    if len(values) > MAX_CELLS:
        _refuse(where, f"{what} is a range of {len(values)} numbers: {MAX_CELLS} are allowed")
    return tuple(values)


def _cells(node: ast.expr, where: str) -> tuple[Cell, ...]:
    cells = _items(node, "genes", where)
    return tuple(
        _cell(_items(cell, f"cell {index}", where), f"{where}: cell {index}") for index, cell in enumerate(cells)
    )


def _cell(genes: list[ast.expr], where: str) -> Cell:
    """Triples (operation, to, from), or pairs (operation, from) with two of them a node."""
    fields = [_items(gene, f"gene {index}", where) for index, gene in enumerate(genes)]
    lengths = {len(items) for items in fields}
    if lengths == {2} and len(genes) % 2 == 0 and len(genes) <= 2 * MAX_STEPS:
        return tuple(
            Gene(_constant(op, str, f"gene {i}: the operation", where), INPUTS + i // 2, _source(source, i, where))
            for i, (op, source) in enumerate(fields)
        )
    if lengths - {3}:
        _refuse(where, "every gene must be (operation, to, from), or all (operation, from) with two a node")
    return tuple(
        Gene(
            _constant(op, str, f"gene {i}: the operation", where),
            _constant(to, int, f"gene {i}: the node", where),
            _source(source, i, where),
        )
        for i, (op, to, source) in enumerate(fields)
    )


def _source(node: ast.expr, index: int, where: str) -> int:
    return _constant(node, int, f"gene {index}: the source", where)


def _space_of(cells: tuple[Cell, ...]) -> str:
    only_there = set(DARTOPTI.operations) - set(DDARTS.operations)
    return DARTOPTI.name if any(gene.op in only_there for cell in cells for gene in cell) else DDARTS.name


def _expected() -> str:
    return "expected is Genotype_nested(genes=[…], concat=range(2, 6), reductions=[2, 6]) or Genotype_opt(…)"
