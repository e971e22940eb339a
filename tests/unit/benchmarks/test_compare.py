"""What counts as slower than before."""

from typing import Any

import pytest
from ddarts_benchmarks.compare import TOLERANCE, regressions


def rows(**ratios: float | None) -> list[dict[str, Any]]:
    return [
        {"id": name, "baseline": "eager", "ratio": None if ratio is None else {"median": ratio}, "seconds": {}}
        for name, ratio in ratios.items()
    ]


def test_equal_runs_are_equal() -> None:
    before = rows(eager=None, cpp=4.0, reference=0.5)
    assert regressions(before, before) == (2, [])


@pytest.mark.parametrize(
    ("now", "fallen"), [(4.0, False), (9.0, False), (4 * (1 - TOLERANCE), False), (3.59, True), (0.1, True)]
)
def test_a_median_ratio_may_lose_a_tenth(now: float, fallen: bool) -> None:
    common, lines = regressions(rows(cpp=4.0), rows(cpp=now))
    assert common == 1 and bool(lines) == fallen
    assert not lines or lines == [f"cpp: {now:.2f} times eager, was 4.00"]


def test_the_worst_comes_first_and_other_rows_do_not_count() -> None:
    common, lines = regressions(rows(a=4.0, b=4.0, gone=9.0), rows(a=3.0, b=1.0, new=0.1))
    assert common == 2 and [line[0] for line in lines] == ["b", "a"]
