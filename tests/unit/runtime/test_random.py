"""Seeds and generator states: the same draws again, whatever happened in between."""

import random

import numpy as np
import pytest
import torch

from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.rng import rng_state, set_rng_state
from ddarts.runtime.seeds import seed_all, uniform


def draws():
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]


def test_seed_all_seeds_every_generator():
    seed_all(3)
    first = draws()
    seed_all(3)
    assert draws() == first
    seed_all(4)
    assert not any(a == b for a, b in zip(first, draws(), strict=True))
    seed_all(2**40)  # numpy's own limit is 2**32


def test_generators_resume_through_a_checkpoint(tmp_path):
    seed_all(0)
    draws()  # the normal draws leave a spare value behind: part of the state
    store = CheckpointStore(tmp_path)
    store.save(1, {"rng": rng_state()})
    expected = draws() + draws()
    seed_all(9)
    set_rng_state(store.load()[0]["rng"])
    assert draws() + draws() == expected


def test_a_gpu_in_use_is_part_of_the_state_and_an_idle_one_is_left_alone(monkeypatch):
    in_use, put_back = [False], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: in_use[0])
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.tensor([7], dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state: put_back.append(state.tolist()))
    set_rng_state(rng_state())
    assert put_back == []
    in_use[0] = True
    state = rng_state()
    set_rng_state(state)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    set_rng_state(state)
    assert put_back == [[7]]


@pytest.mark.parametrize("broken", [{}, {"python": 3}, {"python": {"version": 3}, "numpy": {}, "torch": None}])
def test_a_state_that_does_not_fit_is_an_error(broken):
    with pytest.raises(DdartsError, match="random generators"):
        set_rng_state(broken)


def test_uniform_is_pinned():
    """The same numbers on every machine and with every version, or old runs cannot be continued."""
    np.testing.assert_array_equal(uniform(0, 0, 0, 4), PINNED)
    np.testing.assert_array_equal(uniform(2**64 - 1, 7, "drop_path", (2,)), PINNED_NAMED)


PINNED = [0.011546754286331562, 0.24154919656271812, 0.11142585551493822, 0.5644146216071337]
PINNED_NAMED = [0.6612922459834759, 0.23652117664148997]


def test_uniform_depends_on_its_address_only():
    seed_all(1)
    before = rng_state()
    forwards = {(step, stream): uniform(5, step, stream, (3, 2)) for step in range(4) for stream in (0, 1, "a")}
    for (step, stream), values in reversed(forwards.items()):
        np.testing.assert_array_equal(uniform(5, step, stream, (3, 2)), values)
        np.testing.assert_array_equal(uniform(5, step, stream, 6).reshape(3, 2), values)
    assert torch.equal(rng_state()["torch"], before["torch"]) and random.getstate()[1] == tuple(
        before["python"]["words"]
    )
    flat = np.concatenate([values.ravel() for values in forwards.values()] + [uniform(6, 0, 0, 6)])
    assert len(np.unique(flat)) == len(flat)


def test_neighbouring_steps_and_streams_do_not_overlap():
    long = uniform(0, 0, 0, 4096)
    for other in (uniform(0, 1, 0, 4096), uniform(0, 0, 1, 4096), uniform(1, 0, 0, 4096)):
        assert not np.isin(other, long).any()


def test_uniform_is_uniform():
    values = uniform(0, 0, 0, (100, 100))
    assert values.dtype == np.float64 and values.shape == (100, 100)
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01 and abs(values.var() - 1 / 12) < 0.003
    counts = np.histogram(values, 10, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 28  # chi-square, 9 degrees of freedom, p = 0.001
    assert uniform(0, 0, 0, ()).shape == () and uniform(0, 0, 0, (0, 3)).shape == (0, 3)
