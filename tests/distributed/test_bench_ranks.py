"""`ddarts bench search --ranks`: what ranks send each other, and what it costs."""

import json

import pytest
from command_line import run


@pytest.mark.slow
def test_iterations_on_one_and_two_ranks(tmp_path):
    words = ["bench", "search", "--quick", "--rounds", "1", "--ranks", "1,2", "--output", str(tmp_path), "--json"]
    done = run(*words)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert json.loads((tmp_path / "search-ranks-quick.json").read_text())["ranks"] == result["ranks"]
    one, two = (result["ranks"][number] for number in ("1", "2"))
    assert one["all_reduces"] == {"architecture": 0, "weights": 0} and one["communication_share"]["max"] == 0
    assert two["all_reduces"] == {"architecture": 1, "weights": 1} and 0 < two["communication_share"]["max"] < 1
    # α of 3 cells with 14 edges and 7 operations, 1 + 4 losses, two bits of each rank
    assert two["bytes"]["architecture"] == 4 * (3 * 14 * 7 + 5 + 4)
    assert two["bytes"]["weights"] > two["bytes"]["architecture"]
