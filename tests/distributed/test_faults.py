"""Ranks that are asked to stop, die or hang, and runs that go on with another number of them (real processes)."""

import json
import signal
import time

import pytest
from bits import assert_same_bits
from processes import TINY, codes, ddarts, start, wait_for_step

from ddarts.runtime.checkpoint import CheckpointStore

STOPPED = 75


def search(tmp_path, name, size, *words, **variables):
    command = ddarts("search", *TINY, "--out", tmp_path, "--save", name, *words)
    return start(size, command, tmp_path / f"{name}.log", **variables)


def resume(tmp_path, name, size, *words):
    command = ddarts("search", "--resume", tmp_path / "search" / name, *words)
    return start(size, command, tmp_path / f"{name}.log")


def said(tmp_path, name, rank):
    return (tmp_path / f"{name}.log-{rank}").read_text()


def state_of(tmp_path, name):
    state, step = CheckpointStore(tmp_path / "search" / name / "checkpoints").load()
    return {key: state[key] for key in state if key not in ("rows", "means", "measured", "options")}, step


@pytest.mark.slow
def test_a_stop_reaches_all_ranks_and_the_run_goes_on_with_any_number_of_them(tmp_path):
    processes = search(tmp_path, "whole", 2, "--max_steps", 6)
    assert codes(processes) == [0, 0], said(tmp_path, "whole", 0)
    processes = search(tmp_path, "parts", 2, "--max_steps", 6)
    run_dir = tmp_path / "search" / "parts"
    wait_for_step(run_dir, 2, processes)
    processes[1].send_signal(signal.SIGTERM)
    begin = time.monotonic()
    assert codes(processes) == [STOPPED, STOPPED], said(tmp_path, "parts", 0)
    assert time.monotonic() - begin < 30
    marker = json.loads((run_dir / "REQUEUE").read_text())
    assert 2 <= marker["step"] < 6 and "ddarts search --resume" in marker["message"]
    assert "stopped by" in said(tmp_path, "parts", 0) and "stopped by" not in said(tmp_path, "parts", 1)
    assert (run_dir / "log-rank1.txt").is_file() and not (run_dir / "DONE").exists()

    assert codes(resume(tmp_path, "parts", 2)) == [0, 0], said(tmp_path, "parts", 0)
    assert (run_dir / "DONE").exists() and not (run_dir / "REQUEUE").exists()
    (one, step), (other, last) = state_of(tmp_path, "whole"), state_of(tmp_path, "parts")
    assert step == last == 6
    assert_same_bits(one, other)

    for size, until in ((1, 8), (4, 10)):  # saved at 2, then at 1
        assert codes(resume(tmp_path, "parts", size, "--max_steps", until)) == [0] * size, said(tmp_path, "parts", 0)
        state, step = state_of(tmp_path, "parts")
        assert step == until and state.get("ranks", 1) == size
        assert state["training"]["images"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_when_a_rank_dies_or_hangs_the_other_ends_soon_and_the_newest_checkpoint_resumes(tmp_path, fault):
    timeout = 8
    words = ["--checkpoint_every", 1, "--rank_timeout", timeout]
    processes = search(tmp_path, "run", 2, *words)
    wait_for_step(tmp_path / "search" / "run", 2, processes)
    processes[1].send_signal(fault)
    begin = time.monotonic()
    assert codes(processes[:1], 60) == [1], said(tmp_path, "run", 0)
    assert time.monotonic() - begin < timeout + 25
    processes[1].kill()
    message = said(tmp_path, "run", 0).splitlines()[-1]
    assert message.startswith("ddarts (rank 0): error: rank 0 of 2: another rank died, or gave no answer within 8 s")
    assert "ddarts search --resume" in message
    assert codes(resume(tmp_path, "run", 1, "--max_steps", 6)) == [0], said(tmp_path, "run", 0)


@pytest.mark.slow
def test_what_makes_one_rank_fail_is_said_by_the_others(tmp_path):
    """The second rank finds other α than the first: a check names it, and everybody ends."""
    script = (
        "import ddarts.search.iteration as it, os, sys, torch\n"
        "from ddarts.cli import main\n"
        "step = it.Iteration.weight_step\n"
        "def drift(self, batch, number):\n"
        "    if number == 1 and self.group.rank == 1:\n"
        "        self.alphas.logits.data[0, 0, 0] += 1e-6\n"
        "    return step(self, batch, number)\n"
        "it.Iteration.weight_step = drift\n"
        "sys.exit(main())\n"
    )
    file = tmp_path / "drift.py"
    file.write_text(script)
    python, *_, command = ddarts("search")
    words = [python, str(file), command, *TINY, "--out", str(tmp_path), "--save", "drift"]
    processes = start(2, words, tmp_path / "drift.log")
    assert codes(processes) == [1, 1]
    for rank in range(2):
        assert f"ddarts (rank {rank}): error: α after step 2: not the same on all ranks" in said(
            tmp_path, "drift", rank
        )
