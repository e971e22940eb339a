"""What a run remembers of its images."""

import logging
from pathlib import Path

import pytest
import torch

from ddarts.data.census import census, check_census, moved_label
from ddarts.data.images import FileSet
from ddarts.data.specs import SPECS
from ddarts.runtime.errors import DdartsError


def _of(labels: list[int], *names: str) -> dict:
    files = [f"{number}.jpg" for number in range(len(labels))]
    return census(FileSet(files, torch.tensor(labels), names, SPECS["folder"]))


def test_classes_and_images_are_counted() -> None:
    assert _of([0, 2, 0], "a", "b", "c") == {"class_names": ["a", "b", "c"], "images": [2, 0, 1]}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("b", "a"), "label 0 is b now, and was a when"),
        (("a", "c"), "label 1 is c now, and was b when"),
        (("a", "b", "c"), "label 2 is c now, and was none when"),
    ],
)
def test_a_label_that_means_another_class_is_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(DdartsError, match=f"^run: {said} the run began"):
        check_census(_of([0, 1], "a", "b"), _of([0, 1], *names), Path("run"))


def test_other_images_are_told_and_the_same_are_not(caplog: pytest.LogCaptureFixture) -> None:
    before = _of([0, 1, 1], "a", "b")
    with caplog.at_level(logging.INFO):
        check_census(before, _of([0, 1, 1], "a", "b"), Path("run"))
        check_census(None, before, Path("run"))
        assert not caplog.records
        check_census(before, _of([0, 1], "a", "b"), Path("run"))
    assert "run: began with 3 training images and goes on with 2" in caplog.text


def test_where_labels_part() -> None:
    assert moved_label(["a", "b"], ("a", "b")) is None
    assert moved_label(["a", "b"], ["a"]) == (1, "b", "none")
