"""The warning about α that cannot get far enough."""

import re

import pytest

from ddarts.runtime.schedule import cosine
from ddarts.search import reach


def stretches(steps):
    """A search of `steps` in each epoch, with a cosine over all of them."""
    return [(count, cosine(epoch, len(steps), 1.0)) for epoch, count in enumerate(steps)]


def test_published_settings_reach_the_threshold():
    assert reach.warning(stretches([348] * 50), 3e-3, 1e-3) is None  # CIFAR-10, batch 72


@pytest.mark.parametrize("steps", [[2, 2], [10] * 5, [1, 0, 0]])
def test_the_named_rate_suffices_and_a_lower_one_does_not(steps):
    line = reach.warning(stretches(steps), 3e-3, 1e-3)
    rate, end = re.search(r"--arch_learning_rate ([0-9.e-]+) --arch_learning_rate_min ([0-9.e-]+)", line).groups()
    assert reach.warning(stretches(steps), float(rate), float(end)) is None
    assert reach.warning(stretches(steps), float(rate) * 0.85, float(end)) is not None


def test_a_high_threshold_needs_more():
    assert reach.needed(0.85) == 3.0
    assert reach.needed(0.99) == pytest.approx(5.595, abs=1e-3)
    assert reach.warning(stretches([100]), 0.04, 0.04) is None and "threshold 0.99" in reach.warning(
        stretches([100]), 0.04, 0.04, 0.99
    )


def test_the_bound_is_the_sum_of_the_rates():
    assert reach.travelled(stretches([3, 3]), 1.0, 1.0) == pytest.approx(6.0)
    assert reach.travelled(stretches([3, 3]), 1.0, 0.0) == pytest.approx(3 * 1.0 + 3 * 0.5)


def test_from_a_baseline_adding_and_dropping_operations_are_two_things():
    few, more, many = (stretches([count]) for count in (2, 5, 20))
    assert "3 is needed to pass" in reach.warning(few, 1.0, 1.0, 0.85, 10.0)
    line = reach.warning(more, 1.0, 1.0, 0.85, 10.0)
    assert "none of its own can be dropped" in line and "8.3 is needed from α = 10 down" in line
    assert "--arch_learning_rate 1.7 " in line and reach.warning(more, 1.7, 1.0, 0.85, 10.0) is None
    assert reach.warning(more, 1.0, 1.0) is None and reach.warning(many, 1.0, 1.0, 0.85, 10.0) is None


def test_a_run_that_only_pretrains_is_told_so():
    assert "every step belongs to pretraining" in reach.warning([(0, 1.0), (0, 0.5)], 0.1, 0.1, 0.85, 10.0)


def test_steps_at_the_rate_of_the_end_alone_need_a_higher_end():
    line = reach.warning([(4, 0.0), (0, 0.5)], 0.1, 0.01)  # the official recipe, after as long a pretraining
    assert "--arch_learning_rate 0.75 --arch_learning_rate_min 0.75" in line
    assert reach.warning([(4, 0.0), (0, 0.5)], 0.75, 0.75) is None
