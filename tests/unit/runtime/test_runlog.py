"""metrics.jsonl is valid JSON, has every row once after a resume, and TensorBoard shows the same numbers."""

import errno
import json
import logging
import math
import sys

import numpy as np
import pytest
import torch

from ddarts.runtime.errors import DdartsError
from ddarts.runtime.runlog import RunLog


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def rows(folder):
    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_rows_of_every_kind_of_value(tmp_path):
    with RunLog(tmp_path, tensorboard=False) as log:
        log.row("train", 3, 1, loss=math.nan, up=math.inf, down=np.float32(-math.inf), nested=[[1, math.nan], (2,)],
                tensor=torch.tensor([1.5, 2]), array=np.arange(2), count=np.int64(4), name="x", none=None, yes=True,
                by_op={"a": 1.0})  # fmt: skip
        assert rows(tmp_path) == [  # already on disk, before closing
            {"kind": "train", "step": 3, "epoch": 1, "loss": "nan", "up": "inf", "down": "-inf",
             "nested": [[1, "nan"], [2]], "tensor": [1.5, 2.0], "array": [0, 1], "count": 4, "name": "x",
             "none": None, "yes": True, "by_op": {"a": 1.0}}
        ]  # fmt: skip


def test_tensorboard_has_the_scalars_once_after_a_resume(tmp_path):
    with RunLog(tmp_path) as log:
        for step in range(1, 5):
            log.row("train", step, 0, loss=float(step), lists=[1, 2], name="x")
        log.row("valid", 4, 0, accuracy=torch.tensor(50.0), gap=math.nan)
    with RunLog(tmp_path, resume_step=2) as log:
        log.row("train", 3, 0, loss=30.0)
    shown = scalars(tmp_path)
    assert shown["train/loss"] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert set(shown) <= {"train/loss", "valid/accuracy", "valid/gap"}


def test_resume_drops_later_rows_and_a_line_cut_short(tmp_path):
    with RunLog(tmp_path, tensorboard=False) as log:
        for step in (10, 20, 30):
            log.row("train", step, step // 20, loss=1 / step)
            log.row("valid", step, step // 20, accuracy=step)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    first = whole.splitlines(keepends=True)
    for tail in ("", '{"kind": "tr', '{"kind": "train", "step": 20, "epoch": 1}', "\0\0\0", "[]\n", '"step"\n'):
        path.write_text(whole + tail)
        with RunLog(tmp_path, resume_step=20, tensorboard=False) as log:
            assert path.read_text() == "".join(first[:4])
            log.row("train", 21, 1, loss=0.5)
        assert [row["step"] for row in rows(tmp_path)] == [10, 10, 20, 20, 21]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.txt", "metrics.jsonl"]


def test_an_interrupted_truncation_leaves_the_old_rows(tmp_path, monkeypatch):
    with RunLog(tmp_path, tensorboard=False) as log:
        log.row("train", 1, 0)
        log.row("train", 2, 0)
    for call in ("write", "fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr("os." + call, lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
            with pytest.raises(DdartsError, match="log cannot be opened .No space left"):
                RunLog(tmp_path, resume_step=1)
        assert [row["step"] for row in rows(tmp_path)] == [1, 2]


def test_log_txt_takes_the_messages_of_this_run_only(tmp_path):
    logger = logging.getLogger("ddarts.somewhere")
    before = list(logging.getLogger("ddarts").handlers)
    with RunLog(tmp_path, tensorboard=False) as log:
        logger.info("hello %d", 1)
        log.close()
        log.close()
    logger.info("too late")
    with RunLog(tmp_path, resume_step=0, tensorboard=False):
        logger.warning("again")
    text = (tmp_path / "log.txt").read_text()
    assert "INFO hello 1\n" in text and "WARNING again\n" in text and "too late" not in text
    assert logging.getLogger("ddarts").handlers == before


def test_without_tensorboard_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunLog(tmp_path) as log:
        log.row("train", 1, 0, loss=1.0)
        log.row("train", 2, 0, loss=1.0)
    assert len(rows(tmp_path)) == 2
    assert (tmp_path / "log.txt").read_text().count("TensorBoard is not installed") == 1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DdartsError, match="log cannot be opened"):
        RunLog(tmp_path / "none")
