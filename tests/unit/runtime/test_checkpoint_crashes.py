"""Checkpoints under kill -9 and a full disk: at any moment of a save, the newest complete one loads."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddarts.runtime import files
from ddarts.runtime.errors import DdartsError
from tests.checkpoint_states import assert_is, folders, state_of


class Killed(BaseException):
    """Stands for kill -9: from here on nothing reaches the disk, not even the tidying up."""


CALLS = ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir")


def inject(monkeypatch, at, failure, *, for_good):
    """Make the `at`-th call to the disk raise `failure()`; `for_good`: and every later one too. Returns the count."""
    count = {"calls": 0}

    def wrap(function, name):
        def wrapper(*args, **kwargs):
            if name == "open" and not args[1] & os.O_CREAT:  # reading
                return function(*args, **kwargs)
            count["calls"] += 1
            if count["calls"] == at or (for_good and count["calls"] > at):
                if name == "write" and for_good and count["calls"] == at:
                    function(args[0], args[1][: len(args[1]) // 2])  # the power went in the middle of it
                raise failure()
            return function(*args, **kwargs)

        return wrapper

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(getattr(os, name), name))
    return count


def save_counting(monkeypatch, store, step, at, failure, *, for_good, tag=None):
    with monkeypatch.context() as patch:
        patch.setattr(files, "CHUNK", 100)
        count = inject(patch, at, failure, for_good=for_good)
        try:
            store.save(step, state_of(step), tag=tag)
        except (Killed, DdartsError) as error:
            return count["calls"], error
    return count["calls"], None


@pytest.mark.parametrize("tag", [None, "best"])
def test_killed_at_every_write_sync_and_rename(store, monkeypatch, tag):
    """Also at every removal. Before the rename the old checkpoint is the newest, after it the new one."""
    which = tag or "latest"
    store.save(1, state_of(1), tag=tag)
    store.save(2, state_of(2), tag=tag)
    outcomes = []
    for at in range(1, 1000):
        step = at + 2
        before = store.load(which)[1]
        _, error = save_counting(monkeypatch, store, step, at, Killed, for_good=True, tag=tag)
        state, loaded = store.load(which)
        assert loaded in (before, step)
        assert_is(state, loaded)
        outcomes.append(loaded == step)
        if error is None:
            break
    assert outcomes[0] is False and outcomes[-1] is True and 20 < len(outcomes) < 999
    assert folders(store) == (["best"] if tag else store_names(store.steps()))


def store_names(steps):
    return [f"step_{step:010d}" for step in steps]


def test_a_folder_killed_while_being_replaced_still_loads(store, monkeypatch):
    """Between the two renames only `best.previous` exists."""
    store.save(1, state_of(1), tag="best")
    seen = False
    for at in range(1, 200):
        _, error = save_counting(monkeypatch, store, at + 1, at, Killed, for_good=True, tag="best")
        if not (store.folder / "best").exists():
            seen = True
            assert_is(store.load("best")[0], store.load("best")[1])
        if error is None:
            break
    assert seen and folders(store) == ["best"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("tag", [None, "best"])
def test_a_full_disk_at_every_call(store, monkeypatch, code, tag):
    which = tag or "latest"
    store.save(1, state_of(1), tag=tag)
    refused = 0
    for at in range(1, 1000):
        before = store.load(which)[1]
        failure = OSError(code, os.strerror(code))
        calls, error = save_counting(monkeypatch, store, at + 1, at, lambda e=failure: e, for_good=False, tag=tag)
        state, loaded = store.load(which)
        assert_is(state, loaded)
        if error is not None:
            refused += 1
            assert isinstance(error, DdartsError) and os.strerror(code) in str(error) and "\n" not in str(error)
            assert loaded in (before, at + 1)
            # Nothing half-written stays. The replaced `best` may, until the next save: its successor is in place but
            # the disk would not say that it is there for good.
            names = folders(store)
            assert names in ([tag], [tag, f"{tag}.previous"]) if tag else names == store_names(store.steps())
        else:
            assert loaded == at + 1  # the failure hit the removal of an old one: a warning
        if calls < at:
            break
    assert refused > 15


def test_the_error_of_a_full_disk(store, monkeypatch):
    store.save(1, state_of(1))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(DdartsError) as error:
        store.save(2, state_of(2))
    assert str(error.value) == (
        f"{store.folder / 'step_0000000002'}: checkpoint not saved (No space left on device); the one before is intact"
    )
    assert folders(store) == ["step_0000000001"]


def test_everything_is_synced_before_the_rename_and_the_manifest_comes_last(store, monkeypatch):
    """A machine that loses power forgets what was not synced, which no killed process can show."""
    store.save(1, state_of(1))
    trace, names = [], {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "rename")}

    def opened(path, flags, *mode):
        descriptor = real["open"](path, flags, *mode)
        names[descriptor] = Path(path).name.split("-")[0]
        return descriptor

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", lambda fd: (trace.append(f"sync {names[fd]}"), real["fsync"](fd))[1])
    monkeypatch.setattr(os, "rename", lambda a, b: (trace.append(f"rename to {Path(b).name}"), real["rename"](a, b))[1])
    store.save(2, state_of(2))
    assert trace == [
        "sync tensors.safetensors", "sync state.json", "sync .tmp", "sync manifest.json", "sync .tmp",
        "rename to step_0000000002", "sync checkpoints",
    ]  # fmt: skip


def test_a_disk_that_takes_less_than_it_was_given(store, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:37]))
    store.save(2, state_of(2))
    assert_is(store.load()[0], 2)


REAL = """
import os, sys, torch
torch.set_num_threads(1)
from ddarts.runtime import files
from ddarts.runtime.checkpoint import CheckpointStore
files.CHUNK = 200
store = CheckpointStore(sys.argv[1])
store.save(1, {"x": torch.ones(50)})
at = 0
while True:
    at += 1
    child = os.fork()
    if child == 0:
        calls = 0
        def wrap(function):
            def wrapper(*args, **kwargs):
                global calls
                calls += 1
                if calls == at:
                    os._exit(9)
                return function(*args, **kwargs)
            return wrapper
        for name in ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir"):
            setattr(os, name, wrap(getattr(os, name)))
        CheckpointStore(sys.argv[1]).save(at + 1, {"x": torch.full((50,), at + 1.0)})
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    before = globals().get("step", 1)
    state, step = store.load()
    assert step in (before, at + 1) and bool((state["x"] == step).all()), (step, before, at)
    if code == 0:
        assert step == at + 1
        break
    assert code == 9
print(at)
"""


def test_a_real_process_that_dies_at_every_call(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
