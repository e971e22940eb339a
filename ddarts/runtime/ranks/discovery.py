"""Which of how many processes this one is, told by the environment of whoever started it. [light]

Three kinds of launchers are known: torchrun and DeepSpeed (RANK, WORLD_SIZE …), and SLURM's srun (SLURM_PROCID,
SLURM_NTASKS …). Without either there is one process.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ddarts.runtime.errors import UsageError

_LAUNCHED = ("RANK", "WORLD_SIZE")
_FIRST_PORT, _PORTS = 20_000, 10_000  # below the ports that Linux hands out by itself


@dataclass(frozen=True)
class Place:
    """A process among `size`: its `rank`, and its `local_rank` on its machine. Rank 0 listens at `address`:`port`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    launcher: str = "none"

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"

    def at(self, port: int) -> "Place":
        """The same place, meeting at another port."""
        return replace(self, port=port)


def discover(environ: Mapping[str, str] | None = None) -> Place:
    """This process's place. UsageError names a variable that is missing or makes no sense."""
    given = os.environ if environ is None else environ
    if any(name in given for name in _LAUNCHED):
        return _launched(given)
    if "SLURM_PROCID" in given and not _is_batch_script(given):
        return _slurm(given)
    return Place()


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def first_host(nodes: str) -> str:
    """The first machine of SLURM's list of nodes: `gpu[07-09,12],login` → `gpu07`."""
    match = re.match(r"(?:[^,\[\]]|\[[^\[\]]+\])+", nodes.strip())
    if match is None:
        raise UsageError(f"SLURM's list of nodes {nodes!r} names none: set MASTER_ADDR")
    return re.sub(r"\[([^,-]*)[^\]]*\]", r"\1", match[0])


def _launched(given: Mapping[str, str]) -> Place:
    for name in _LAUNCHED:
        if name not in given:
            other = _LAUNCHED[name == _LAUNCHED[0]]
            raise UsageError(
                f"{other} is set and {name} is not: start with torchrun, deepspeed or srun, or unset {other}"
            )
    rank, size = _number(given, "RANK"), _number(given, "WORLD_SIZE", minimum=1)
    local = _number(given, "LOCAL_RANK") if "LOCAL_RANK" in given else 0
    if size == 1:
        return _checked(Place(rank, 1, local, port=_number(given, "MASTER_PORT") if "MASTER_PORT" in given else 0))
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in given:
            raise UsageError(f"WORLD_SIZE is {size} and {name} is not set: start with torchrun, deepspeed or srun")
    port = _number(given, "MASTER_PORT", minimum=1)
    launcher = "torchrun" if "TORCHELASTIC_RUN_ID" in given else "deepspeed" if "CROSS_RANK" in given else "other"
    return _checked(Place(rank, size, local, given["MASTER_ADDR"], port, launcher))


def _slurm(given: Mapping[str, str]) -> Place:
    """SLURM says nothing of a port: every process derives the same one from the job, so that jobs do not meet."""
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in given else "SLURM_NTASKS"
    if tasks not in given:
        return Place()  # a shell within a job, without tasks of its own
    rank, size = _number(given, "SLURM_PROCID"), _number(given, tasks, minimum=1)
    local = _number(given, "SLURM_LOCALID") if "SLURM_LOCALID" in given else 0
    if size == 1:
        return _checked(Place(rank, 1, local, launcher="slurm"))
    lists = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    nodes = next((given[name] for name in lists if given.get(name)), "")
    address = given.get("MASTER_ADDR") or (first_host(nodes) if nodes else "")
    if not address:
        raise UsageError(f"{tasks} is {size} and SLURM_JOB_NODELIST is not set: set MASTER_ADDR to the host of rank 0")
    if "MASTER_PORT" in given:
        port = _number(given, "MASTER_PORT", minimum=1)
    else:
        ids = [_number(given, name) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID") if name in given]
        port = _FIRST_PORT + sum(ids) % _PORTS
    return _checked(Place(rank, size, local, address, port, "slurm"))


def _is_batch_script(given: Mapping[str, str]) -> bool:
    """Whether this is the script of a job itself, which sees the job's variables but is one process (no step)."""
    return given.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in given


def _number(given: Mapping[str, str], name: str, minimum: int = 0) -> int:
    text = given[name].strip()
    if not text.isascii() or not text.isdecimal() or int(text) < minimum:
        raise UsageError(f"{name} is {given[name]!r}: must be a whole number, at least {minimum}")
    return int(text)


def _checked(place: Place) -> Place:
    if place.rank >= place.size:
        raise UsageError(f"this process is rank {place.rank}, and there are {place.size}: ranks count from 0")
    if place.port > 65_535:
        raise UsageError(f"MASTER_PORT is {place.port}: must be at most 65535")
    return place
