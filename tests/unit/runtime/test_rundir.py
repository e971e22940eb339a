"""Run folders: nothing is written over, and a run is found from any of its parts."""

import json
import math
import os
from pathlib import Path

import pytest

from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.rundir import (
    atomic_write_text,
    clear_ends,
    find_checkpoint,
    find_run,
    mark_end,
    new_run_dir,
)


def test_a_new_folder_and_one_that_is_taken(tmp_path):
    path = new_run_dir(tmp_path / "logs", "search", "first")
    assert path == tmp_path / "logs/search/first" and path.is_dir()
    assert new_run_dir(tmp_path / "logs", "search", "first") == path  # empty: nothing to lose
    (path / "config.yaml").write_text("a: 1")
    with pytest.raises(UsageError, match=f"{path}: .*choose another --save or continue it with --resume"):
        new_run_dir(tmp_path / "logs", "search", "first")
    assert (path / "config.yaml").read_text() == "a: 1"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a/", "../a", "a\0b"])
def test_names_that_lead_elsewhere(tmp_path, name):
    with pytest.raises(UsageError, match="--save .* one folder name"):
        new_run_dir(tmp_path, "search", name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_and_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out .*in the way"):
        new_run_dir(tmp_path / "file", "search", "x")
    (tmp_path / "search").mkdir()
    (tmp_path / "search/x").write_text("")
    with pytest.raises(UsageError, match="--out .*in the way"):
        new_run_dir(tmp_path, "search", "x")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(UsageError, match="--out .*Permission denied"):
        new_run_dir(tmp_path, "search", "y")


def test_a_run_is_found_from_any_of_its_parts(tmp_path, monkeypatch):
    run = new_run_dir(tmp_path, "search", "x")
    saved = CheckpointStore(run / "checkpoints").save(3, {"a": 1})
    for part in (run, run / "checkpoints", saved):
        assert find_run(part) == run and find_run(str(part)) == run
    assert find_checkpoint(saved) == saved and find_checkpoint(run) == find_checkpoint(run / "checkpoints") == "latest"
    monkeypatch.chdir(saved)
    assert find_run(".") == run and find_checkpoint(".") == saved
    fresh = new_run_dir(tmp_path, "search", "y")
    (fresh / "config.yaml").write_text("")
    assert find_run(fresh) == fresh  # stopped before its first checkpoint


def test_no_run_there(tmp_path):
    with pytest.raises(UsageError, match="--resume .*none: no such folder"):
        find_run(tmp_path / "none")
    with pytest.raises(UsageError, match="not a run folder"):
        find_run(tmp_path)


def test_done(tmp_path):
    assert not (tmp_path / "DONE").is_file()
    mark_end(tmp_path, "DONE", {"accuracy": 97.5, "loss": math.nan, "path": Path("a")})
    assert (tmp_path / "DONE").is_file() and os.listdir(tmp_path) == ["DONE"]
    assert json.loads((tmp_path / "DONE").read_text()) == {"accuracy": 97.5, "loss": "nan", "path": "a"}
    clear_ends(tmp_path)
    clear_ends(tmp_path)
    assert not (tmp_path / "DONE").is_file()


def test_text_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old é")
    atomic_write_text(path, "new é")
    assert path.read_text(encoding="utf-8") == "new é"
    for call in ("open", "write", "fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(DdartsError, match=r"a.txt: not written \(No space left on device\)"):
                atomic_write_text(path, "newer")
        assert path.read_text(encoding="utf-8") in ("new é", "newer") and os.listdir(tmp_path) == ["a.txt"]
