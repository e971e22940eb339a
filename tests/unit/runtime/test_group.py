"""What ranks tell each other, with threads as ranks."""

import errno
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch
from command_line import ENVIRONMENT
from thread_ranks import on_ranks

from ddarts.runtime import files
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.ranks.discovery import Place, free_port
from ddarts.runtime.ranks.group import Group, RankLostError, open_group, single
from ddarts.runtime.run import Run


def test_one_process_gets_back_its_own_tensors():
    group, tensor = single(), torch.ones(2, requires_grad=True)
    assert group.mean(tensor)[0] is tensor
    assert group.gather(tensor).shape == (1, 2)
    group.check_same("α", tensor)
    group.wait()
    assert group.from_first(lambda: "text") == "text"


def test_means_of_several_tensors_keep_shape_and_dtype():
    def work(group):
        values = torch.full((2, 3), float(group.rank)), torch.tensor(group.rank), torch.tensor(1.0).bfloat16()
        return group.mean(*values)

    for means in on_ranks(3, work):
        assert torch.equal(means[0], torch.ones(2, 3))
        assert means[1].item() == 1.0 and means[1].is_floating_point()
        assert means[2].dtype == torch.bfloat16


def test_float64_keeps_its_digits_and_float32_travels_as_float32():
    third = torch.tensor(1 / 3, dtype=torch.float64)
    widths = []

    def work(group):
        inner = group._sum
        group._sum = lambda flat: (widths.append(flat.dtype), inner(flat))
        return group.mean(third, torch.ones(2))[0], group.mean(torch.ones(2))

    for mean, _ in on_ranks(2, work):
        assert mean.item() == 1 / 3
    assert set(widths) == {torch.float64, torch.float32} and widths.count(torch.float64) == 2


def test_a_loss_that_is_not_finite_is_known_by_its_rank():
    def work(group):
        loss = torch.tensor(torch.nan if group.rank == 2 else 1.0)
        mean, other = group.step_mean(loss, torch.tensor(float(group.rank)))
        return mean.isnan().item(), other.item(), group.at_fault(), group.agreed_to_stop()

    assert on_ranks(4, work) == [(True, 1.5, " on rank 2", False)] * 4


def test_a_rank_with_other_bits_is_named():
    def work(group):
        alphas = torch.zeros(3)
        group.check_same("α after step 4", alphas)
        alphas[1] += 1e-30 * (group.rank == 1)
        group.check_same("α after step 5", alphas)

    for outcome in on_ranks(3, work):
        assert isinstance(outcome, DdartsError)
        assert str(outcome) == "α after step 5: not the same on all ranks (rank 1 differs from the others)"


def test_what_the_first_rank_does_or_cannot_do_is_known_to_all():
    def work(group):
        done = [group.from_first(lambda: f"by {group.rank}")]
        for error in (DdartsError("disk full"), UsageError("taken")):
            with pytest.raises(type(error), match=str(error)) as caught:
                group.from_first(lambda error=error: _raise(error))
            done.append(caught.value.exit_code)
        return done

    assert on_ranks(3, work) == [["by 0", 1, 2]] * 3


def _raise(error):
    raise error


def test_too_few_images_for_the_ranks_are_refused_before_any_waits():
    group = Group(Place(0, 4), torch.device("cpu"))
    group.check_share("digits", 8)
    with pytest.raises(UsageError, match="digits: 7 images are too few for 4 ranks; start at most 3"):
        group.check_share("digits", 7)
    single().check_share("digits", 1)


def test_only_errors_of_the_network_mean_that_a_rank_is_lost():
    group = Group(Place(0, 2), torch.device("cpu"), timeout=9)
    assert group.lost(RuntimeError("shape mismatch")) is None
    assert group.lost(ValueError("gloo")) is None
    found = group.lost(RuntimeError("[gloo/transport/tcp/pair.cc:1] Connection closed by peer [127.0.0.1]:1"))
    assert isinstance(found, RankLostError) and "rank 0 of 2" in str(found) and "9 s" in str(found)
    assert single().lost(RuntimeError("gloo: Connection closed by peer")) is None


@pytest.fixture
def _environment():
    """Opening a group sets variables for DeepSpeed."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_full_disk_is_one_error_on_every_rank_and_the_checkpoint_before_stays(tmp_path, monkeypatch):
    write, full = files.write_synced, []

    def written(path, data):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(files, "write_synced", written)

    def work(group):
        run = Run(None, tmp_path, None, ExitStack(), group)
        run.log = SimpleNamespace(rows=0)
        run.save(1, {"alphas": torch.ones(3)})
        group.check_same("a meeting", torch.ones(1))
        full.append(group.rank)
        with pytest.raises(DdartsError) as caught:
            run.save(2, {"alphas": torch.zeros(3)})
        state, step = run.store.load()
        return str(caught.value), step, state["alphas"].tolist()

    (line, *kept), *others = on_ranks(3, work)
    assert "No space left on device" in line and "the one before is intact" in line and "\n" not in line
    assert kept == [1, [1.0, 1.0, 1.0]] and others == [(line, *kept)] * 2


@pytest.mark.usefixtures("_environment")
def test_a_port_that_is_taken_and_ranks_that_do_not_come():
    device = torch.device("cpu")
    with open_group(Place(port=free_port()), device, 20, always=True) as group:
        assert group.from_first(lambda: "alone") == "alone"
        assert torch.distributed.get_backend() == "gloo"
    assert not torch.distributed.is_initialized()
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DdartsError, match=f"{port}: this port is taken; set MASTER_PORT"):
            _open(Place(port=port), 20)
    with pytest.raises(DdartsError, match="did not meet at .* within 1 s"):
        _open(Place(0, 2, port=free_port()), 1)


def test_a_rank_that_cannot_reach_another_ends_though_the_library_waits_without_end():
    script = (
        "import time; from ddarts.runtime.ranks import group; from ddarts.runtime.ranks.discovery import Place\n"
        "group._GRACE = 0.0\n"
        "with group._giving_up(Place(0, 2), 'node0:29500', 0.1): time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert done.stderr.startswith("ddarts (rank 0): error: rank 0 of 2: the ranks did not meet at node0:29500")
    assert "GLOO_SOCKET_IFNAME" in done.stderr


def _open(place, timeout):
    with open_group(place, torch.device("cpu"), timeout, always=True):
        pass
