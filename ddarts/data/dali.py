"""Batches made by NVIDIA DALI, on the CPU or, where the batches are wanted on a GPU, there.

No operator of the pipelines draws a random number or keeps a position: every number comes from the plan of the epoch
(`draws`), batch by batch, through a callable without a state of its own. So a pipeline starts at any batch of any
epoch, shows what the other loaders show, and there is nothing of it to save in a checkpoint.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import finalize

import torch
from torch import Tensor

from ddarts.data.batches import Batches
from ddarts.data.dali_inputs import Inputs, file_inputs, memory_inputs
from ddarts.data.dali_pipelines import file_pipeline, memory_pipeline
from ddarts.data.draws import Draws
from ddarts.data.images import FileSet
from ddarts.data.loader import Loader
from ddarts.runtime.errors import DdartsError

QUEUE = 2  # batches that a pipeline works on ahead
_MOST_THREADS = 16

T = TypeVar("T")


class DaliLoader(Loader):
    """Runs a DALI pipeline in `threads` threads (0: one for each core, at most 16). See `loader.make_loader`."""

    def __init__(self, batches: Batches, threads: int = 0) -> None:
        super().__init__(batches)
        self._threads = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._idle: list[_Running] = []  # building a pipeline takes longer than a batch

    def _make(self, draws: Iterator[Draws]) -> Iterator[tuple[Tensor, Tensor]]:
        make = file_inputs if isinstance(self.batches.images, FileSet) else memory_inputs
        running = self._idle.pop() if self._idle else _Running(self.batches, self._threads)
        inputs = (make(self.batches, drawn) for drawn in draws)
        try:
            yield from running.batches(ahead(inputs, QUEUE))
        finally:
            if running.sound:
                self._idle.append(running)


class _Feed:
    """What a pipeline takes next, and what it has taken and not given back yet."""

    def __init__(self) -> None:
        self.coming: Iterator[Inputs] = iter(())
        self.taken: deque[Inputs] = deque()

    def __call__(self) -> tuple:
        inputs = next(self.coming)
        self.taken.append(inputs)
        return inputs.arrays


class _Running:
    """A pipeline that was built, and its feed."""

    def __init__(self, batches: Batches, threads: int) -> None:
        self._batches = batches
        self._feed = _Feed()
        self.sound = True
        define = file_pipeline if isinstance(batches.images, FileSet) else memory_pipeline
        on_gpu = batches.device.type == "cuda"
        self._pipeline: Any = define(
            batches,
            self._feed,
            batch_size=min(batches.batch_size, len(batches.images)),
            num_threads=threads,
            device_id=(batches.device.index or 0) if on_gpu else None,
            prefetch_queue_depth=QUEUE,
        )
        self._pipeline.build()
        # A pipeline is part of reference cycles. Left to the collector it may be taken apart in a process that was
        # forked meanwhile (a DataLoader's worker), which has none of its threads and would wait for them for ever.
        finalize(self, self._pipeline.__del__).atexit = False

    def batches(self, inputs: Iterator[Inputs]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batch for each of `inputs`, in their order."""
        self._feed.coming = inputs
        self._pipeline.reset()
        try:
            while True:
                try:
                    outputs = self._pipeline.run()
                except StopIteration:
                    return
                except RuntimeError as error:
                    self.sound = False
                    raise self._explained(error) from error
                fed = self._feed.taken.popleft()
                images = self._taken(outputs[0].as_tensor())
                if self._batches.channels_last:
                    images = images.permute(0, 3, 1, 2)
                yield self._batches.place(images, fed.labels)
        finally:
            self._drain()

    def _taken(self, output: Any) -> Tensor:
        """A batch in memory that is the receiver's to keep, float32 in the layout of the pipeline."""
        device = self._batches.device
        if device.type != "cuda":  # then what this executor made is, and nothing is copied
            return torch.from_dlpack(output)
        # DALI would reuse memory of its own as soon as it is dropped, though kernels that read it may still be queued
        from nvidia.dali.plugin.pytorch import feed_ndarray

        images = torch.empty(output.shape(), dtype=torch.float32, device=device)
        return feed_ndarray(output, images, cuda_stream=torch.cuda.current_stream(device))

    def _drain(self) -> None:
        """Take what the pipeline still works on, so that it is ready for another epoch."""
        self._feed.coming = iter(())
        while self.sound:
            try:
                self._pipeline.run()
            except StopIteration:
                break
            except RuntimeError:
                self.sound = False
        self._feed.taken.clear()

    def _explained(self, error: RuntimeError) -> DdartsError:
        """Name the file that DALI could not decode, if there is one; else say what DALI said last."""
        for fed in self._feed.taken:
            fed.check()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next((line for line in lines if "rror" in line and not line.startswith("Critical")), lines[0])
        return DdartsError(f"the DALI loader failed: {said[:200]}; --loader torchvision does without DALI")


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items, made in a thread of its own up to `count` ahead of the one that is asked for."""
    with ThreadPoolExecutor(1) as pool:
        stop = object()
        coming = deque(pool.submit(next, items, stop) for _ in range(count))
        while True:
            item = coming.popleft().result()
            if item is stop:
                return
            coming.append(pool.submit(next, items, stop))
            yield item  # type: ignore[misc]
