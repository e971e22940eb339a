"""docs/promises.md: every promise names its tests, and these exist and are not switched off."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[^`]*)`", PAGE)) - {"tests/packaging/test_promises.py"})


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The functions at the top level of a file of tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", NAMED)
def test_the_test_of_a_promise_exists_and_runs(name: str) -> None:
    path, _, function = name.partition("::")
    assert (ROOT / path).is_file(), f"{path}: no such file"
    found = functions(ROOT / path).get(function)
    assert found is not None and function.startswith("test_"), f"{name}: no such test"
    marks = " ".join(ast.unparse(mark) for mark in found.decorator_list)
    assert not re.search(r"mark\.(skip|xfail)", marks)
    assert any(isinstance(node, ast.Assert | ast.With | ast.Call) for node in ast.walk(found))


def test_every_promise_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    promises = [row for row in rows if not row.endswith("| test |")]
    assert len(promises) >= 25 and len(NAMED) >= 50
    for row in promises:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 3 and "::test_" in cells[2], row
