"""States that the tests of checkpoints save and recognise."""

import torch


def state_of(step):
    return {"step": step, "weights": torch.arange(40.0) * step, "rate": 0.1 * step, "names": ["a", None, True]}


def assert_is(state, step):
    assert state["step"] == step and torch.equal(state["weights"], torch.arange(40.0) * step)
    assert state["rate"] == 0.1 * step and state["names"] == ["a", None, True]


def folders(store):
    return sorted(path.name for path in store.folder.iterdir())
