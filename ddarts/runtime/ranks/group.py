"""The processes of one run, and all that they tell each other. A run of one process uses the same calls: they return
what they were given, without a copy or a process group.

Shapes: P processes (ranks).
"""

import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.ranks.discovery import Place

_log = logging.getLogger(__name__)

_GRACE = 5.0  # seconds for torch to give up by itself, which says more
_STOPPED = 75  # the exit code of all ranks that stop together on request: nothing to tell
_FAULT = "fault"  # where a rank that fails leaves its message
_SIGNS = ("gloo", "nccl", "connection closed", "connection reset", "timed out", "socket", "broken pipe", "store")


class RankLostError(DdartsError):
    """Another rank died, or did not answer in time."""


class Group:
    """All ranks of a run. Reductions and checks are collective: every rank makes the same calls in the same order."""

    def __init__(self, place: Place, device: torch.device, store: Any = None, timeout: float = 0) -> None:
        self.place, self.device = place, device
        self.rank, self.size = place.rank, place.size
        self.is_first = self.rank == 0
        self.wants_stop: Callable[[], bool] = lambda: False  # whether this rank was asked to stop
        self._store, self._timeout, self._texts = store, timeout, 0
        self._flags: Tensor | None = None

    def mean(self, *tensors: Tensor) -> list[Tensor]:
        """The means over all ranks, of any number of tensors in one all-reduce.

        They travel in float32, in float64 where one of them is float64. Whole numbers and bools come back as floats.
        """
        if self.size == 1:
            return list(tensors)
        wide = any(tensor.dtype == torch.float64 for tensor in tensors)
        flat = torch.cat([t.detach().reshape(-1).to(torch.float64 if wide else torch.float32) for t in tensors])
        self._sum(flat)
        parts = flat.div_(self.size).split([tensor.numel() for tensor in tensors])
        return [
            part.view(tensor.shape).to(tensor.dtype if tensor.is_floating_point() else part.dtype)
            for part, tensor in zip(parts, tensors, strict=True)
        ]

    def total(self, counts: Tensor) -> list[float]:
        """The sums over all ranks of a vector of counts, as numbers. The host waits."""
        if self.size > 1:
            counts = counts.to(self.device, copy=True)
            self._sum(counts)
        return counts.tolist()

    def step_mean(self, loss: Tensor, *others: Tensor) -> list[Tensor]:
        """`mean` in a step. Two bits of every rank travel along: it was asked to stop; its `loss` is not finite."""
        if self.size == 1:
            return [loss, *others]
        flags = torch.zeros(2, self.size, device=self.device)
        flags[0, self.rank] = self.wants_stop()
        flags[1, self.rank] = ~torch.isfinite(loss.detach())
        *means, self._flags = self.mean(loss, *others, flags)
        return means

    def agreed_to_stop(self) -> bool:
        """Whether any rank was asked to stop before the last `step_mean`: the same answer on all of them."""
        if self.size == 1:
            return self.wants_stop()
        return self._flags is not None and bool(self._flags[0].any())

    def at_fault(self) -> str:
        """Where the losses of the last `step_mean` were not finite: ` on rank 1`. Empty where nobody knows."""
        ranks = [] if self._flags is None else self._flags[1].nonzero().flatten().tolist()
        return f" on rank {', '.join(map(str, ranks))}" if ranks else ""

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, which have one shape, stacked [P, ...]."""
        if self.size == 1:
            return tensor[None]
        return torch.stack(self._all(tensor.detach().to(self.device).contiguous()))

    def broadcast(self, *tensors: Tensor) -> None:
        """Overwrite the tensors of every rank by those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                self._send(tensor.detach())

    def check_same(self, what: str, *tensors: Tensor) -> None:
        """DdartsError, naming the ranks, unless all hold the same bits. The host waits for its device."""
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data)
        hashes = self.gather(torch.tensor(list(digest.digest()), dtype=torch.uint8)).tolist()
        usual = max(hashes, key=hashes.count)
        others = [str(rank) for rank, found in enumerate(hashes) if found != usual]
        if others:
            raise DdartsError(f"{what}: not the same on all ranks (rank {', '.join(others)} differs from the others)")

    def from_first(self, work: Callable[[], str]) -> str:
        """What `work` returns on rank 0, on every rank. A DdartsError that it raises there is raised on every rank."""
        if self.size == 1:
            return work()
        self._texts += 1
        key = f"text-{self._texts}"
        if not self.is_first:
            code, _, text = self._store.get(key).decode().partition(" ")
            if code != "0":
                raise (UsageError if code == str(UsageError.exit_code) else DdartsError)(text)
            return text
        try:
            text = work()
        except DdartsError as error:
            self._store.set(key, f"{error.exit_code} {error}")
            raise
        self._store.set(key, f"0 {text}")
        return text

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Rank 0 does what is inside before the others do: it may fetch or write what they only read."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            self._sum(torch.zeros(1, device=self.device))

    def check_share(self, what: str, images: int) -> None:
        """UsageError where so few images leave a rank with fewer than the 2 that BN needs."""
        if images < 2 * self.size and self.size > 1:
            raise UsageError(f"{what}: {images} images are too few for {self.size} ranks; start at most {images // 2}")

    def publish(self, error: BaseException) -> None:
        """Leave word of why this rank fails, for those that wait for it."""
        if self._store is not None:
            with suppress(Exception):
                self._store.set(_FAULT, f"rank {self.rank}: {' '.join(str(error).split()) or type(error).__name__}")

    def lost(self, error: BaseException) -> RankLostError | None:
        """What to say where `error` means that another rank died or hangs; None where it means something else."""
        text = " ".join(str(error).split())
        if self.size == 1 or not isinstance(error, RuntimeError) or not any(sign in text.lower() for sign in _SIGNS):
            return None
        return RankLostError(
            f"{self.place}: {self._fault() or f'another rank died, or gave no answer within {self._timeout:g} s'}"
            f" ({text[:160]})"
        )

    def _fault(self) -> str | None:
        with suppress(Exception):
            if self._store.check([_FAULT]):
                return f"stopped, since another rank failed; {self._store.get(_FAULT).decode()}"
        return None

    # The only calls that cross process borders.
    def _sum(self, flat: Tensor) -> None:
        dist.all_reduce(flat)

    def _send(self, tensor: Tensor) -> None:
        dist.broadcast(tensor, 0)

    def _all(self, own: Tensor) -> list[Tensor]:
        found = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(found, own)
        return found


def single(device: torch.device | str = "cpu") -> Group:
    """The group of a run of one process."""
    return Group(Place(), torch.device(device))


@contextmanager
def open_group(place: Place, device: torch.device, timeout: float, always: bool = False) -> Iterator[Group]:
    """The group of a run, for the time of the run: NCCL between GPUs, gloo between CPUs; `always` also for one process.

    timeout: seconds after which a rank that waits for another gives up. RankLostError says that one did; what made
    this rank fail is told to the others.
    """
    if place.size == 1 and not always:
        yield Group(place, device)
        return
    store = _join(place, device, timeout)
    group = Group(place, device, store, timeout)
    try:
        yield group
    except BaseException as error:
        lost = group.lost(error)
        if lost is not None:
            raise lost from error
        if getattr(error, "exit_code", 1) != _STOPPED and not isinstance(error, RankLostError):
            group.publish(error)
        raise
    finally:
        dist.destroy_process_group()


def _join(place: Place, device: torch.device, timeout: float) -> Any:
    """Meet the other ranks; returns the store of texts that all of them see."""
    # DeepSpeed looks for these as well, and takes their absence for MPI.
    own: dict[str, Any] = {"RANK": place.rank, "WORLD_SIZE": place.size, "LOCAL_RANK": place.local_rank}
    own |= {"MASTER_ADDR": place.address, "MASTER_PORT": place.port}
    os.environ.update({name: str(value) for name, value in own.items()})
    limit = timedelta(seconds=timeout)
    where = f"{place.address}:{place.port}"
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        with _giving_up(place, where, timeout):
            store, _, _ = next(iter(dist.rendezvous("env://", place.rank, place.size, timeout=limit)))
            store.set_timeout(limit)
            inner = dist.PrefixStore("group", store)
            dist.init_process_group(backend, store=inner, rank=place.rank, world_size=place.size, timeout=limit)
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        if "EADDRINUSE" in text or "address already in use" in text.lower():
            raise DdartsError(f"{where}: this port is taken; set MASTER_PORT to a free one, or leave it out") from None
        raise DdartsError(_not_met(place, where, timeout, text[:160])) from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return dist.PrefixStore("texts", store)


def _not_met(place: Place, where: str, timeout: float, why: str) -> str:
    return (
        f"{place}: the ranks did not meet at {where} within {timeout:g} s ({why}); are all of them started, and can "
        "each reach the others? Between machines GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME names the network interface"
    )


@contextmanager
def _giving_up(place: Place, where: str, timeout: float) -> Iterator[None]:
    """End this process where what is inside takes longer than it may: gloo waits without end for a rank that has met
    it but cannot be reached, and no exception gets through to it."""

    def end() -> None:
        print(f"ddarts (rank {place.rank}): error: {_not_met(place, where, timeout, 'no answer')}", file=sys.stderr)
        os._exit(DdartsError.exit_code)

    timer = threading.Timer(timeout + _GRACE, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
