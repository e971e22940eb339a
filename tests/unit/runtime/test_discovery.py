"""Who a process is, as launchers tell it."""

import pytest

from ddarts.runtime.errors import UsageError
from ddarts.runtime.ranks.discovery import Place, discover, first_host

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
SRUN = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_NODELIST": "gpu[07-08]"}


def test_without_a_launcher_there_is_one_process():
    assert discover({"PATH": "/bin"}) == Place()


def test_torchrun_and_deepspeed_variables():
    assert discover(TORCHRUN) == Place(3, 4, 1, "node0", 29500, "other")
    assert discover({**TORCHRUN, "TORCHELASTIC_RUN_ID": "x"}).launcher == "torchrun"
    assert discover({**TORCHRUN, "CROSS_RANK": "0"}).launcher == "deepspeed"


def test_srun_variables_and_a_port_that_every_rank_of_a_job_derives():
    places = [discover({**SRUN, "SLURM_JOB_ID": "123", "SLURM_PROCID": str(rank)}) for rank in range(8)]
    assert [place.rank for place in places] == list(range(8))
    assert {(place.size, place.address) for place in places} == {(8, "gpu07")}
    (port,) = {place.port for place in places}
    assert 1024 < port < 32768
    assert discover({**SRUN, "SLURM_JOB_ID": "124"}).port != port
    assert discover({**SRUN, "MASTER_PORT": "12345", "MASTER_ADDR": "other"}).port == 12345


def test_a_step_of_a_job_counts_its_own_tasks_and_nodes():
    step = {"SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NODELIST": "gpu12", "SLURM_STEP_ID": "0"}
    found = discover({**SRUN, **step, "ENVIRONMENT": "BATCH"})
    assert (found.size, found.address) == (6, "gpu12")


def test_the_script_of_a_job_is_one_process():
    assert discover({**SRUN, "ENVIRONMENT": "BATCH"}) == Place()


def test_torchrun_within_srun_is_torchrun():
    assert discover({**SRUN, **TORCHRUN}).rank == 3


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu07", "gpu07"),
        ("gpu07,gpu09", "gpu07"),
        ("gpu[07-09,12],login", "gpu07"),
        ("gpu[12]", "gpu12"),
        ("rack[1-2]-node,x", "rack1-node"),
        ("rack[0-1]node[04,07-09],login", "rack0node04"),
    ],
)
def test_first_host(nodes, host):
    assert first_host(nodes) == host


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"WORLD_SIZE": None}, "WORLD_SIZE"),
        ({"RANK": None}, "RANK"),
        ({"RANK": "-1"}, "RANK"),
        ({"RANK": "two"}, "RANK"),
        ({"RANK": "4"}, "rank 4"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR"),
        ({"MASTER_PORT": None}, "MASTER_PORT"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT"),
        ({"LOCAL_RANK": None}, "LOCAL_RANK"),
    ],
)
def test_what_is_missing_or_nonsense_is_named(change, named):
    given = {name: value for name, value in {**TORCHRUN, **change}.items() if value is not None}
    with pytest.raises(UsageError, match=named):
        discover(given)


def test_srun_without_a_list_of_nodes_asks_for_the_host():
    given = {name: value for name, value in SRUN.items() if name != "SLURM_JOB_NODELIST"}
    with pytest.raises(UsageError, match="MASTER_ADDR"):
        discover(given)
