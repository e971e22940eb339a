"""Ranks as threads of one process: what a group computes, without the seconds that processes take to start."""

import threading

import torch

from ddarts.runtime.ranks.discovery import Place
from ddarts.runtime.ranks.group import Group

PATIENCE = 20  # seconds until a rank that waits for one that failed gives up


class _Meeting:
    """Where the threads lay down what they have, and see what all have laid down."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size)
        # Two in turns: nobody lays down for the next meeting but one before all have seen this one.
        self.laid = [None] * size, [None] * size

    def exchange(self, rank, number, value):
        laid = self.laid[number % 2]
        laid[rank] = value
        self.barrier.wait(PATIENCE)
        return list(laid)


class _Store:
    """Texts that all threads see, as torch's stores have them."""

    def __init__(self):
        self.texts, self.changed = {}, threading.Condition()

    def set(self, key, text):
        with self.changed:
            self.texts[key] = text.encode()
            self.changed.notify_all()

    def get(self, key):
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.texts, PATIENCE)
            return self.texts[key]


class ThreadGroup(Group):
    def __init__(self, rank, size, meeting, store):
        super().__init__(Place(rank, size), torch.device("cpu"), store)
        self.meeting, self.meetings = meeting, 0

    def _sum(self, flat):
        flat.copy_(torch.stack(self._all(flat.clone())).sum(0))

    def _send(self, tensor):
        tensor.copy_(self._all(tensor.clone())[0])

    def _all(self, own):
        self.meetings += 1
        return self.meeting.exchange(self.rank, self.meetings, own)


def on_ranks(size, work):
    """What `work(group)` returns or raises on each of `size` ranks."""
    meeting, store, outcomes = _Meeting(size), _Store(), [None] * size

    def run(rank):
        try:
            outcomes[rank] = work(ThreadGroup(rank, size, meeting, store))
        except Exception as error:  # noqa: BLE001
            outcomes[rank] = error  # the others give up after PATIENCE, unless they fail as well

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
