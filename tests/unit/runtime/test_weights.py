"""Weight files: what goes in comes out, everything else is refused with what to do."""

import os
import pickle

import pytest
import safetensors.torch
import torch

from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.weights import load_weights, save_weights

STATE = {
    "conv.weight": torch.randn(3, 2, 4, 4).contiguous(memory_format=torch.channels_last),
    "half": torch.randn(3).bfloat16(),
    "count": torch.tensor(7),
    "empty": torch.empty(0, 2),
}


def test_weights_and_metadata_come_back(tmp_path):
    path = tmp_path / "w.safetensors"
    tied = STATE | {"tied": STATE["half"], "part": STATE["half"][1:]}
    save_weights(path, tied, {"genotype": '{"name": "é"}'})
    state, metadata = load_weights(path)
    assert metadata == {"genotype": '{"name": "é"}'} and state.keys() == tied.keys()
    for name, value in tied.items():
        assert state[name].dtype == value.dtype and torch.equal(state[name], value)
    state["tied"].zero_()
    assert torch.equal(state["half"], STATE["half"])
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_a_header_of_any_length_is_read(tmp_path):
    """The file begins with that length; in one of 32 files its first byte is the one that pickles begin with."""
    beginnings = set()
    for size in range(0, 264, 8):
        save_weights(tmp_path / "w.safetensors", {"a": torch.ones(2)}, {"note": "x" * size})
        beginnings.add((tmp_path / "w.safetensors").read_bytes()[0])
        assert load_weights(tmp_path / "w.safetensors")[1] == {"note": "x" * size}
    assert 0x80 in beginnings and len(beginnings) == 32


def test_files_of_other_programs_are_read(tmp_path):
    safetensors.torch.save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    state, metadata = load_weights(tmp_path / "x.safetensors")
    assert metadata == {} and state["x"].tolist() == [1, 1]


def test_every_flip_and_cut_is_noticed(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, STATE, {"genotype": "g"})
    good = path.read_bytes()
    for at in sorted({*range(0, len(good), 3), len(good) - 1}):
        for content in (good[:at], good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :]):
            path.write_bytes(content)
            try:
                state, metadata = load_weights(path)
            except DdartsError as error:
                assert str(path) in str(error) and "\n" not in str(error)
            else:  # white space of the header
                assert metadata == {"genotype": "g"} and all(torch.equal(state[n], v) for n, v in STATE.items())


def test_a_flipped_weight_is_damage(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"x": torch.ones(4)})
    path.write_bytes(path.read_bytes()[:-1] + b"\x40")
    with pytest.raises(DdartsError, match="damaged .* get it again"):
        load_weights(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "a Git LFS pointer.*git lfs pull"),
        (b"PK\x03\x04" + b"0" * 100, "a pickled PyTorch file"),
        (pickle.dumps({"x": 1}), "a pickled PyTorch file"),
        (b"", "not a safetensors file"),
        (b"hello world, this is no tensor", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
    ],
)
def test_other_files_are_refused_with_what_to_do(tmp_path, content, words):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(DdartsError, match=words) as error:
        load_weights(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_weights(tmp_path / "none")
    with pytest.raises(UsageError, match="cannot be read"):
        load_weights(tmp_path)
    with pytest.raises(DdartsError, match="not written"):
        save_weights(tmp_path / "none" / "w", STATE)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"x": torch.ones(2)})

    def full(*_):
        raise OSError(28, "No space left on device")

    for call in ("write", "fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(DdartsError, match="No space left"):
                save_weights(path, {"x": torch.zeros(2)})
        assert os.listdir(tmp_path) == ["w.safetensors"] and load_weights(path)[0]["x"].tolist() == [1, 1]


def test_metadata_is_text(tmp_path):
    with pytest.raises(TypeError, match="strings only"):
        save_weights(tmp_path / "w", STATE, {"epochs": 3})
