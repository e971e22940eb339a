"""What a run does when its disk is full or it is told to stop while processes of its own work for it."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

import ddarts
from ddarts.config import TrainConfig
from ddarts.genotype.files import write
from ddarts.genotype.schema import Gene, Genotype
from ddarts.network.weights import read_network
from ddarts.runtime import files
from ddarts.runtime.checkpoint import CheckpointStore
from ddarts.runtime.errors import DdartsError
from tests.bits import assert_same_bits
from tests.command_line import ENVIRONMENT

TINY = Genotype("tiny", "ddarts", 1, (2,), (1,), ((Gene("sep_conv_3x3", 2, 0), Gene("skip_connect", 2, 1)),) * 3)
OPTIONS = {"dataset": "digits", "image_size": 8, "init_channels": 2, "batch_size": 480, "device": "cpu"}


@pytest.fixture
def arch(tmp_path):
    return str(write(TINY, tmp_path / "tiny.json"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_run_whose_disk_is_full_goes_on_from_the_checkpoint_before(arch, tmp_path, monkeypatch, code):
    def config(name, **more):
        return TrainConfig(arch=arch, out=str(tmp_path), save=name, epochs=3, checkpoint_every=1, **OPTIONS, **more)

    ddarts.train(config("whole"))
    write_synced, left = files.write_synced, [11]  # files that still fit

    def full(path, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(code, os.strerror(code), str(path))
        return write_synced(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_synced", full)
        with pytest.raises(DdartsError, match=os.strerror(code)) as caught:
            ddarts.train(config("full"))
    assert "\n" not in str(caught.value) and not (tmp_path / "eval" / "full" / "DONE").exists()
    step = CheckpointStore(tmp_path / "eval" / "full" / "checkpoints").load()[1]
    assert 0 < step < 9
    ddarts.train(config("full", resume=str(tmp_path / "eval" / "full")))
    ends = [read_network(tmp_path / "eval" / name / "last.safetensors")[0] for name in ("whole", "full")]
    assert_same_bits(*ends, "weights")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_told_to_stop_leaves_no_process_of_its_own(arch, tmp_path, number):
    words = ["train", "--arch", arch, "--dataset", "digits", "--image_size", "8", "--init_channels", "2"]
    words += ["--epochs", "1000", "--loader", "torchvision", "--workers", "2", "--out", str(tmp_path), "--save", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ddarts", *words],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        store, deadline = CheckpointStore(tmp_path / "eval" / "run" / "checkpoints"), time.monotonic() + 120
        while not (store.steps() and store.steps()[-1] > 0 and len(members(process.pid)) == 3):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        asked = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 75 and time.monotonic() - asked < 30, said
        assert f"stopped by {signal.Signals(number).name}" in said
        while members(process.pid) and time.monotonic() - asked < 30:
            time.sleep(0.05)
        assert members(process.pid) == []
    finally:
        for left in members(process.pid):
            os.kill(left, signal.SIGKILL)


def members(session):
    """Living processes of a session, except zombies (Linux)."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, _, _, number = file.read().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(number) == session and state != "Z":
            found.append(int(name))
    return found
