"""Saving and loading, and what damaged or made-up checkpoints meet: only what was saved ever loads."""

import json
import logging
import os
from pathlib import Path

import pytest
import safetensors.torch

from ddarts.runtime import files, manifest
from ddarts.runtime.errors import DdartsError
from tests.checkpoint_states import assert_is, folders, state_of

FILES = ("tensors.safetensors", "state.json", "manifest.json")


def test_save_and_load(store):
    assert store.save(10, state_of(10)) == store.folder / "step_0000000010"
    assert sorted(os.listdir(store.folder / "step_0000000010")) == sorted(FILES)
    state, step = store.load()
    assert step == 10
    assert_is(state, 10)


def test_the_newest_are_kept_and_the_best(store):
    for step in (1, 2, 3, 4):
        store.save(step, state_of(step))
        if step == 2:
            store.save(step, state_of(step), tag="best")
    assert store.steps() == [3, 4]
    assert folders(store) == ["best", "step_0000000003", "step_0000000004"]
    for which, expected in (
        ("latest", 4),
        (3, 3),
        ("best", 2),
        (store.folder / "best", 2),
        (str(store.folder / "best"), 2),
    ):
        state, step = store.load(which)
        assert step == expected
        assert_is(state, expected)


def test_a_tag_is_replaced_and_a_step_saved_again(store):
    store.save(1, state_of(1), tag="best")
    store.save(7, state_of(7), tag="best")
    store.save(8, state_of(1))
    store.save(8, state_of(8))
    assert store.load("best")[1] == 7
    assert_is(store.load()[0], 8)
    assert folders(store) == ["best", "step_0000000008"]


def test_a_run_continued_from_earlier_drops_the_later_steps(store):
    store.save(10, state_of(10))
    store.save(20, state_of(20))
    store.save(12, state_of(12))
    assert store.steps() == [10, 12] and store.load()[1] == 12


def test_what_is_not_there_is_said(store):
    for which in ("latest", "best", 3, "/nowhere/step_0000000001"):
        with pytest.raises(DdartsError, match="no checkpoint"):
            store.load(which)
    store.save(5, state_of(5))
    with pytest.raises(DdartsError, match=r"no checkpoint 3 there \(steps there: 5\)"):
        store.load(3)


def damage_positions(size):
    return sorted({*range(0, size, max(1, size // 23)), 0, 1, 7, 8, 9, size // 2, size - 2, size - 1})


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_and_cuts_fall_back_to_the_one_before(store, caplog, name):
    store.save(1, state_of(1))
    store.save(2, state_of(2))
    path = store.folder / "step_0000000002" / name
    good = path.read_bytes()
    damaged = [good[:at] for at in damage_positions(len(good))] + [good + b"\0", b""]
    damaged += [
        good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :]
        for at in damage_positions(len(good))
        for bit in range(8)
    ]
    for content in damaged:
        path.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "ddarts"):
            state, step = store.load()
        assert step == 1
        assert_is(state, 1)
        assert len(caplog.records) == 1 and str(path) in caplog.text and "step_0000000001 instead" in caplog.text
        with pytest.raises(DdartsError, match="no usable checkpoint"):
            store.load(2)
    path.write_bytes(good)
    assert store.load()[1] == 2


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_falls_back_too(store, name):
    store.save(1, state_of(1))
    store.save(2, state_of(2))
    (store.folder / "step_0000000002" / name).unlink()
    assert store.load()[1] == 1
    (store.folder / "step_0000000001" / name).unlink()
    with pytest.raises(DdartsError, match=f"no usable checkpoint: .*step_0000000002.*{name}.*step_0000000001") as error:
        store.load()
    assert "\n" not in str(error.value)


def test_nothing_is_parsed_before_the_hashes_are_right(store, monkeypatch):
    path = store.save(1, state_of(1))
    (path / "tensors.safetensors").write_bytes(b"X" * (path / "tensors.safetensors").stat().st_size)
    monkeypatch.setattr(safetensors.torch, "load", lambda _: pytest.fail("looked inside a damaged file"))
    with pytest.raises(DdartsError, match="SHA-256"):
        store.load()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{" * 100, '{"dict":' * 200 + "1" + "}" * 200, "1", "null", '{"dict": 3}', '{"dict": [["a"]]}',
     '{"dict": [["a", {"float": "__import__"}]]}', '{"dict": [["a", {"tensor": []}]]}'],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_made_up_content_with_right_hashes_is_refused(store, text):
    """Someone else's file, its manifest made to fit."""
    path = store.save(1, state_of(1))
    rewrite(path, {"state.json": text.encode()})
    with pytest.raises(DdartsError, match="not a checkpoint of this program"):
        store.load()


def test_a_state_that_is_too_large_is_refused(store, monkeypatch):
    store.save(1, state_of(1))
    monkeypatch.setattr("ddarts.runtime.checkpoint.MAX_STATE_BYTES", 50)
    with pytest.raises(DdartsError, match="too large"):
        store.load()
    with pytest.raises(DdartsError, match="bytes; 50 are allowed"):
        store.save(2, state_of(2))


def test_a_file_that_grew_is_not_read(store):
    path = store.save(1, state_of(1))
    os.truncate(path / "tensors.safetensors", 1 << 33)  # sparse; reading it would take the memory of a rack
    with pytest.raises(DdartsError, match="8589934592 bytes, the manifest says"):
        store.load()


def test_an_endless_manifest_is_refused(store):
    path = store.save(1, state_of(1))
    (path / manifest.NAME).write_bytes(b"[" * 60_000)
    with pytest.raises(DdartsError, match="its own hash"):
        store.load()


def test_a_manifest_that_lists_other_files_is_refused(store):
    path = store.save(1, state_of(1))
    (path / manifest.NAME).write_bytes(manifest.encode(1, {"../../secret": ("0" * 64, 3)}))
    with pytest.raises(DdartsError, match="lists other files"):
        store.load()


def rewrite(path: Path, changes):
    contents = {name: (path / name).read_bytes() for name in FILES if name != manifest.NAME} | changes
    (path / manifest.NAME).unlink()
    for name in contents:
        (path / name).unlink()
    hashes = {name: (files.write_synced(path / name, data), len(data)) for name, data in contents.items()}
    (path / manifest.NAME).write_bytes(manifest.encode(1, hashes))


def test_leftovers_are_ignored_and_go_at_the_next_save(store):
    store.save(1, state_of(1))
    partial = store.folder / ".tmp-step_0000000002-1-abcd"
    partial.mkdir()
    (partial / "state.json").write_text("{")
    (store.folder / "notes.txt").write_text("not ours")
    assert store.load()[1] == 1 and store.steps() == [1]
    store.save(3, state_of(3))
    assert folders(store) == ["notes.txt", "step_0000000001", "step_0000000003"]


def test_state_json_and_manifest_are_plain_json(store):
    path = store.save(1, state_of(1))
    assert ["rate", {"float": (0.1).hex()}] in json.loads((path / "state.json").read_text())["dict"]
    assert json.loads((path / "manifest.json").read_text())["step"] == 1


def test_wrong_steps_and_tags_are_refused(store):
    for step, tag in ((-1, None), (1, "latest"), (1, "../x"), (1, "step_0000000003"), (1, "")):
        with pytest.raises(ValueError, match="step or tag"):
            store.save(step, state_of(1), tag=tag)
