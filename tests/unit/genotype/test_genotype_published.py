"""The published text form: what the published program writes is read, and nothing in it ever runs."""

import re

import pytest

from ddarts.genotype import files, published, zoo
from ddarts.genotype.schema import Gene
from ddarts.runtime.errors import DdartsError

CELL = "[('sep_conv_3x3', 2, 1), ('max_pool_3x3', 2, 0)]"
GOOD = f"Genotype_nested(genes=[{CELL}, {CELL}, {CELL}], concat=range(2, 6), reductions=[1, 2])"


def published_text(genotype, swapped=False):
    """`genotype` as the published program prints it: the repr of its named tuple."""
    genes = repr([[tuple(gene) for gene in cell] for cell in genotype.cells])
    concat = f"concat={range(genotype.concat[0], genotype.concat[-1] + 1)!r}"
    reductions = f"reductions={list(genotype.reductions)!r}"
    if genotype.sequence is not None:
        return f"Genotype_opt(genes={genes}, seq={list(genotype.sequence)!r}, {concat}, {reductions})"
    ends = (reductions, concat) if swapped else (concat, reductions)
    return f"Genotype_nested(genes={genes}, {', '.join(ends)})"


@pytest.mark.parametrize("name", [entry.name for entry in zoo.entries() if entry.alias_of is None])
@pytest.mark.parametrize("swapped", [False, True])
def test_every_published_architecture_reads_back(tmp_path, name, swapped):
    genotype = zoo.resolve(name, buildable=False)
    path = tmp_path / f"{genotype.name}.txt"
    path.write_text(published_text(genotype, swapped))
    assert files.read(path, buildable=False) == genotype


def test_reductions_as_range_and_arguments_by_position(tmp_path):
    nested = published.from_text(f"Genotype_nested([{CELL}], range(2, 6), range(0, 1))", "n", "f")
    assert (nested.reductions, nested.concat, nested.steps) == ((0,), (2, 3, 4, 5), 4)
    opt = published.from_text(
        f"Genotype_opt([{CELL}], [0, 0, 0], concat=range(2, 6), reductions=range(1, 3))", "n", "f"
    )
    assert (opt.sequence, opt.reductions, opt.layers) == ((0, 0, 0), (1, 2), 3)


def test_pairs_of_the_darts_method_belong_to_nodes_in_order():
    text = (
        "Genotype_nested(genes=[[('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_3x3', 2), ('avg_pool_3x3', 0)]], "
        "concat=range(2, 4), reductions=[])"
    )
    assert published.from_text(text, "n", "f").cells[0] == (
        Gene("sep_conv_3x3", 2, 1),
        Gene("skip_connect", 2, 0),
        Gene("dil_conv_3x3", 3, 2),
        Gene("avg_pool_3x3", 3, 0),
    )


def test_the_space_follows_from_the_operations():
    assert published.from_text(GOOD, "n", "f").space == "ddarts"
    assert published.from_text(GOOD.replace("sep_conv_3x3", "bottleneck_1x3x1"), "n", "f").space == "dartopti"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not a genotype"),
        ("9**9**9", "does not belong"),
        (GOOD.replace("[1, 2]", "[9**9**9]"), "does not belong"),
        (GOOD.replace("[1, 2]", f"[{'1, ' * 1001}]"), "reductions has 1001 numbers"),
        (GOOD.replace("[1, 2]", "[1 << 2]"), "does not belong"),
        (GOOD.replace("range(2, 6)", "range(0, 999999)"), "range of 999999 numbers"),
        (GOOD.replace("range(2, 6)", "range(10000000000)"), "does not belong"),
        (GOOD.replace("range(2, 6)", "range(2, 6, 1)"), "range(first, end)"),
        (GOOD.replace("range(2, 6)", "range(range(2), 6)"), "whole number"),
        (GOOD.replace("range(2, 6)", "concat"), "concat must be a list"),
        (GOOD.replace("range(2, 6)", "[]"), "concat is empty"),
        (GOOD.replace("range(2, 6)", "[[2]]"), "whole number"),
        (GOOD.replace("range(2, 6)", "range(2, 6) if range else range"), "'if' does not belong"),
        (GOOD.replace("range(2, 6)", "open('canary', 'w')"), "'open' does not belong"),
        (GOOD.replace("range(2, 6)", "__import__('os').system('touch canary')"), "'__import__' does not belong"),
        (GOOD.replace("'sep_conv_3x3'", "f'{open(1)}'"), "does not belong"),
        (GOOD.replace("'sep_conv_3x3'", "'sep\\x5fconv_3x3'"), "does not belong"),
        (GOOD.replace("'sep_conv_3x3'", "b'sep_conv_3x3'"), "does not belong"),
        (GOOD.replace("'sep_conv_3x3'", "genes"), "a name in quotes"),
        (GOOD.replace("'sep_conv_3x3'", "'warp'"), "cell 0: node 2: unknown operation 'warp'"),
        (GOOD.replace("'sep_conv_3x3', 2, 1", "'sep_conv_3x3', 3, 4"), "cell 0: node 3: an edge comes from state 4"),
        (GOOD.replace("'sep_conv_3x3', 2, 1", "'sep_conv_3x3',"), "cell 0: every gene"),
        (GOOD.replace("'sep_conv_3x3', 2, 1", "'sep_conv_3x3'"), "cell 0: gene 0 must be a list or tuple"),
        (GOOD.replace("'sep_conv_3x3', 2, 1", "'sep_conv_3x3', 2, 1, 0"), "cell 0: every gene"),
        (GOOD.replace(CELL, "[]"), "cell 0: is empty"),
        (GOOD.replace("[1, 2]", "[1, 9]"), "reductions are [1, 9]"),
        (GOOD.replace("reductions=[1, 2]", "seq=[1, 2]"), "'seq' is not expected"),
        (GOOD.replace(", reductions=[1, 2]", ""), "lacks the field 'reductions'"),
        (GOOD.replace("concat=", "genes="), "each once"),
        (GOOD.replace("Genotype_nested(", "Genotype_nested(genes, "), "'genes' is not expected"),
        (GOOD.replace("Genotype_nested", "range"), "is not a genotype"),
        (f"{GOOD}, {GOOD}", "is not a genotype"),
        (f"reductions = {GOOD}", "is not a genotype"),
        (f"{GOOD}\n{GOOD}", "is not a genotype"),
        (f"import os\n{GOOD}", "'import' does not belong"),
        (f"{GOOD} # comment", "does not belong"),
        ("[" * 100_000, "levels deep"),
        ("(" * 5 + ")" * 5, "levels deep"),
        ("not " * 100_000, "'not' does not belong"),
        ("-" * 100_000 + "1", "does not belong"),
        ("lambda: " * 10_000, "'lambda' does not belong"),
        ("range(2, 3) " * 80_000, "is not a genotype"),
        ("genes, " * 200_000, "is longer than"),
        ("\0", "does not belong"),
        ("Genotype_nested(*genes)", "does not belong"),
    ],
)
def test_hostile_and_broken_text_is_refused(tmp_path, monkeypatch, text, part):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(DdartsError) as caught:
        files.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and part in message, message
    assert "\n" not in message and len(message) < 500
    assert [file.name for file in tmp_path.iterdir()] == ["bad.txt"]


def test_nothing_is_evaluated_even_past_the_screen(monkeypatch):
    """Should a word ever slip through the first check, the tree is still only read."""
    monkeypatch.setattr(published, "_WORDS", published._WORDS | {"open", "exec", "if", "else"})
    for value in ("open('canary', 'w')", "exec('1')", "range(2, 6) if exec else range(2, 6)", "[exec]"):
        with pytest.raises(DdartsError, match="concat"):
            published.from_text(GOOD.replace("range(2, 6)", value), "n", "f")


def test_no_evaluation_in_the_source():
    with open(published.__file__) as file:
        code = re.sub(r'""".*?"""', "", file.read(), flags=re.DOTALL)
    assert not re.search(r"\b(eval|exec|compile|literal_eval)\(", code.replace("re.compile(", ""))
