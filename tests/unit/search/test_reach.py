"""The warning about α that cannot get far enough."""

import re

import pytest

from ddarts.search import reach


def test_published_settings_reach_the_threshold():
    assert reach.warning([348] * 50, 3e-3, 1e-3) is None  # CIFAR-10, batch 72


@pytest.mark.parametrize("steps", [[2, 2], [10] * 5, [1, 0, 0]])
def test_the_named_rate_suffices_and_a_lower_one_does_not(steps):
    line = reach.warning(steps, 3e-3, 1e-3)
    rate, end = re.search(r"--arch_learning_rate ([0-9.e-]+) --arch_learning_rate_min ([0-9.e-]+)", line).groups()
    assert reach.warning(steps, float(rate), float(end)) is None
    assert reach.warning(steps, float(rate) * 0.85, float(end)) is not None


def test_a_high_threshold_needs_more():
    assert reach.needed(0.85) == 3.0
    assert reach.needed(0.99) == pytest.approx(5.595, abs=1e-3)
    assert reach.warning([100], 0.04, 0.04) is None and "threshold 0.99" in reach.warning([100], 0.04, 0.04, 0.99)


def test_the_bound_is_the_sum_of_the_rates():
    assert reach.travelled([3, 3], 1.0, 1.0) == pytest.approx(6.0)
    assert reach.travelled([3, 3], 1.0, 0.0) == pytest.approx(3 * 1.0 + 3 * 0.5)
