"""The split in halves."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddarts.data.halves import halves
from ddarts.runtime.errors import UsageError


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 6), min_size=4, max_size=120),
    portion=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**40),
)
def test_any_split_is_disjoint_complete_and_stratified(labels: list[int], portion: float, seed: int) -> None:
    values = torch.tensor(labels)
    expected = math.floor(portion * len(labels) + 1e-9)
    if expected in (0, len(labels)):
        with pytest.raises(UsageError):
            halves(values, portion, seed)
        return
    train, valid = halves(values, portion, seed)
    assert torch.cat([train, valid]).sort().values.tolist() == list(range(len(labels)))
    assert train.dtype == valid.dtype == torch.int64
    assert train.tolist() == sorted(train.tolist()) and valid.tolist() == sorted(valid.tolist())
    assert len(train) == expected
    for label in set(labels):
        share = int((values[train] == label).sum())
        assert abs(share - portion * labels.count(label)) < 1 + 1e-6


def test_seed_decides_and_nothing_else() -> None:
    labels = torch.arange(200) % 10
    torch.manual_seed(1)
    first = halves(labels, 0.5, 3)[0]
    torch.manual_seed(2)
    assert torch.equal(first, halves(labels, 0.5, 3)[0])
    assert not torch.equal(first, halves(labels, 0.5, 4)[0])
    assert halves(torch.zeros(100, dtype=torch.int64), 0.29, 0)[0].shape == (29,)


@pytest.mark.parametrize("portion", [0.0, 1.0, -0.5, 1.5, float("nan"), 0.001])
def test_portions_that_leave_nothing(portion: float) -> None:
    with pytest.raises(UsageError, match="--train_portion"):
        halves(torch.arange(100) % 10, portion, 0)
