"""The warning about α that cannot get far enough."""

import re

import pytest

from ddarts.search import reach


def test_published_settings_reach_the_threshold():
    assert reach.warning([348] * 50, 3e-3, 1e-3) is None  # CIFAR-10, batch 72


@pytest.mark.parametrize("steps", [[2, 2], [10] * 5, [1, 0, 0]])
def test_the_named_rate_suffices_and_a_lower_one_does_not(steps):
    line = reach.warning(steps, 3e-3, 1e-3)
    rate = float(re.search(r"--arch_learning_rate ([0-9.e-]+)", line)[1])
    assert reach.warning(steps, rate, 1e-3) is None
    assert reach.warning(steps, rate * 0.85, 1e-3) is not None


def test_the_bound_is_the_sum_of_the_rates():
    assert reach.travelled([3, 3], 1.0, 1.0) == pytest.approx(6.0)
    assert reach.travelled([3, 3], 1.0, 0.0) == pytest.approx(3 * 1.0 + 3 * 0.5)
