"""`ddarts data`: pinned classes, every file checked, bad ones listed and left out only where that is asked for."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from ddarts_benchmarks.photographs import CLASSES, make_tree
from PIL import Image

from ddarts.config import DataConfig
from ddarts.data.bad_files import BAD_FILES
from ddarts.data.classes import CLASS_LIST, read_list
from ddarts.data.datasets import load
from ddarts.data.tools import data
from ddarts.runtime.errors import DdartsError, UsageError

FIRST = "n00000001"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("made"), train=4, val=2, size=60)


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tree"))


def _data(action: str, tree: Path, **options):
    return data(DataConfig(action=action, dataset="imagenet", data=str(tree), **options))


def _plant(tree: Path) -> Path:
    """One of each in a class: cut, empty, no image at all, CMYK, a PNG named .JPEG."""
    folder = tree / "train" / FIRST
    photograph = Image.open(folder / f"{FIRST}_0.JPEG")
    whole = (folder / f"{FIRST}_0.JPEG").read_bytes()
    (folder / "cut.JPEG").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.JPEG").write_bytes(b"")
    (folder / "text.JPEG").write_bytes(b"no image")
    photograph.convert("CMYK").save(folder / "cmyk.JPEG")
    photograph.save(folder / "png.JPEG", "PNG")
    return folder


def test_imagenet_needs_a_list_and_prepare_writes_it_once(tree: Path) -> None:
    with pytest.raises(UsageError, match=r"classes.txt is missing.*ddarts data prepare imagenet --data"):
        load("imagenet", tree)
    first = _data("prepare", tree)
    assert first["written"] and first["classes"] == 4 and first["images"] == {"train": 16, "test": 8}
    assert read_list(tree / CLASS_LIST) == CLASSES
    content = (tree / CLASS_LIST).read_bytes()
    assert not _data("prepare", tree)["written"] and (tree / CLASS_LIST).read_bytes() == content
    assert load("imagenet", tree, "test").class_names == CLASSES


def test_the_labels_are_the_list_s_whatever_the_folders_are_called(tree: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("# mine\n" + "\n".join(f"{name} tench, Tinca tinca" for name in reversed(CLASSES)))
    train = load("imagenet", tree, class_list=own)
    assert train.class_names == tuple(reversed(CLASSES))
    assert all(CLASSES[3 - label] in path for path, label in zip(train.paths, train.labels.tolist(), strict=True))
    _data("prepare", tree, class_list=str(own))
    assert load("imagenet", tree).class_names == train.class_names
    own.write_text("\n".join(CLASSES))
    with pytest.raises(DdartsError, match="lists other classes than .*mine.txt; labels must not change"):
        _data("prepare", tree, class_list=str(own))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda train: shutil.rmtree(train / FIRST), f"train: .*differ from those of .*classes.txt: missing {FIRST}"),
        (lambda train: (train / FIRST).rename(train / "n2"), f"missing {FIRST}; extra n2"),
        (lambda train: (train / "more").mkdir(), "extra more"),
        (lambda train: [path.unlink() for path in (train / FIRST).iterdir()], f"{FIRST}: the class folder is empty"),
    ],
)
@pytest.mark.parametrize("dataset", ["imagenet", "folder"])
def test_missing_extra_renamed_and_empty_class_folders(tree: Path, dataset: str, change, said: str) -> None:
    _data("prepare", tree)
    change(tree / "train")
    if "empty" not in said:  # both splits alike, so that only the list can tell
        change(tree / "val")
    with pytest.raises(DdartsError, match=said):
        load(dataset, tree)
    found = _data("check", tree)["problems"]
    assert said.split(": ")[-1].split("; ")[-1] in found[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\nb\na\n", "line 3: a is there already, on line 1"),
        (b"a\n../b\n", "line 2: ../b is not the name of a folder"),
        (b"# nothing\n\na\n", "lists 1 class"),
        (b"\xff\xfe", "not a text file"),
    ],
)
def test_damaged_lists_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(DdartsError, match=said):
        read_list(tmp_path / "list")


def test_check_finds_what_is_planted(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _data("prepare", tree)
    folder = _plant(tree)
    found = _data("check", tree, workers=2)
    assert {Path(item["path"]).name: item["problem"].split("(")[0] for item in found["bad"]} == {
        "cut.JPEG": "not a readable image ",
        "empty.JPEG": "the file is empty",
        "text.JPEG": "not a readable image ",
    }
    assert {Path(item["path"]).name: item["remark"] for item in found["odd"]} == {
        "cmyk.JPEG": "CMYK",
        "png.JPEG": "a PNG file named .jpeg",
    }
    for item in found["bad"]:
        assert item["sha256"] == hashlib.sha256((tree / item["path"]).read_bytes()).hexdigest()
    assert found["splits"]["train"]["class_counts"] == {FIRST: 6, **dict.fromkeys(CLASSES[1:], 4)}
    assert found["splits"]["val"]["images"] == 8 and found["problems"] == []
    monkeypatch.setattr("ddarts.data.check._AT_ONCE", 3)  # files beyond what the threads are given at once
    assert _data("check", tree) == found
    before = found["splits"]["train"]["sha256"]
    (folder / "cut.JPEG").write_bytes(b"other")
    assert _data("check", tree)["splits"]["train"]["sha256"] != before


def test_bad_files_are_left_out_by_choice_and_counted(tree: Path, tmp_path: Path, caplog) -> None:
    _data("prepare", tree)
    folder = _plant(tree)
    with pytest.raises(UsageError, match="--skip_bad_files.*ddarts data check writes it"):
        load("imagenet", tree, skip_bad_files="auto")
    _data("check", tree)
    assert len(load("imagenet", tree)) == 21  # never silently
    caplog.clear()
    assert len(load("imagenet", tree, skip_bad_files="auto")) == 18
    assert f"3 of the 21 train images of imagenet are left out: bad, says {tree / BAD_FILES}" in caplog.text
    elsewhere = tmp_path / "list.json"
    shutil.move(tree / BAD_FILES, elsewhere)
    assert len(load("folder", tree, skip_bad_files=elsewhere)) == 18
    (folder / "text.JPEG").write_bytes(b"another text")
    with pytest.raises(DdartsError, match="text.JPEG: has changed since .*run ddarts data check again"):
        load("imagenet", tree, skip_bad_files=elsewhere)


def test_what_cannot_be_read_at_all_can_be_left_out(tree: Path) -> None:
    _data("prepare", tree)
    victim = tree / "train" / FIRST / "a_folder.JPEG"
    victim.mkdir()
    (tree / "train" / FIRST / "nowhere.JPEG").symlink_to(tree / "gone")
    problems = [item["problem"] for item in _data("check", tree)["bad"]]
    assert problems == ["cannot be read (Is a directory)", "cannot be read (No such file or directory)"]
    assert len(load("imagenet", tree, skip_bad_files="auto")) == 16
    victim.rmdir()
    victim.write_bytes(b"something")
    with pytest.raises(DdartsError, match="a_folder.JPEG: has changed since"):
        load("imagenet", tree, skip_bad_files="auto")


def test_a_list_that_cannot_be_written_is_refused_before_any_file_is_read(tree: Path, monkeypatch) -> None:
    monkeypatch.setattr("ddarts.data.check.inspect", None)
    for output, said in ((tree / "no" / "list.json", "is not a folder"), (tree / "train", "is a folder")):
        with pytest.raises(UsageError, match=f"--output {output}: .*{said}.*name another file"):
            _data("check", tree, output=str(output))
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as for another user's data
    with pytest.raises(UsageError, match="bad_files.json: .* may be written to; name another file"):
        _data("check", tree)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_whose_images_are_all_bad_is_an_error(tree: Path, split: str) -> None:
    _data("prepare", tree)
    for path in (tree / ("train" if split == "train" else "val") / FIRST).iterdir():
        path.write_bytes(b"")
    _data("check", tree)
    with pytest.raises(DdartsError, match=f"all {split} images of class {FIRST} are bad, and left out"):
        load("imagenet", tree, split, skip_bad_files="auto")


def test_imagenet_s_test_images_without_labels_are_not_taken_for_classes(tree: Path) -> None:
    _data("prepare", tree)
    (tree / "test").mkdir()
    shutil.copy(tree / "val" / FIRST / f"{FIRST}_0.JPEG", tree / "test")
    assert len(load("imagenet", tree, "test")) == 8 and list(_data("check", tree)["splits"]) == ["train", "val"]


@pytest.mark.parametrize("content", ["", "[]", '{"bad_files": [{"path": 1, "sha256": "x"}]}', '{"bad_files": 3}'])
def test_a_damaged_list_of_bad_files_is_refused(tree: Path, content: str) -> None:
    (tree / BAD_FILES).write_text(content)
    with pytest.raises(DdartsError, match="not a list that ddarts data check wrote"):
        load("folder", tree, skip_bad_files="auto")


def test_sets_in_memory_are_counted_and_hashed() -> None:
    found = data(DataConfig(action="check", name="digits"))
    assert found["splits"]["train"]["images"] == 1437 and found["splits"]["test"]["smallest_class"] == 35
    again = json.loads(json.dumps(data(DataConfig(action="prepare", dataset="digits"))))
    assert again["splits"] == found["splits"]
