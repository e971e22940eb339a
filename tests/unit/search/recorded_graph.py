"""What stands in for CUDA graphs on the CPU: the operations of an iteration are recorded, with the tensors that they
read and write, and done again on the same tensors without the Python that called them. What a graph could not do is
refused.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ATEN = torch.ops.aten
WAITING = {ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.equal.default, ATEN.masked_select.default}


class Refusing(TorchDispatchMode):
    """RuntimeError where the host would wait for a GPU, or copy numbers to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # A single number can travel with a launch; a list becomes a tensor first, which is what lift_fresh shows.
        if func in WAITING or (func is ATEN.lift_fresh.default and args[0].dim()):
            raise RuntimeError(f"{func} makes the host wait for its device")
        return self.done(func, args, kwargs or {})

    def done(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)


class Recording(Refusing):
    """Collects calls, and what they overwrite."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, dict[str, Any], Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def done(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        arguments = func._schema.arguments
        given = [*zip(arguments, args, strict=False), *((a, kwargs[a.name]) for a in arguments if a.name in kwargs)]
        for argument, value in given:
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.before += [(t, t.clone()) for t in tree_leaves(value) if isinstance(t, Tensor)]
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result


class RecordedOperations:
    """Graphs (ddarts.search.replay). written: tensors that operations change without saying so (BN's statistics)."""

    def __init__(self, written: Iterable[Tensor]) -> None:
        self.written = list(written)
        self.recorded = self.replayed = 0

    def warm_up(self, work: Any) -> Any:
        with Refusing():
            return work()

    def record(self, work: Any) -> Any:
        before = [(t, t.clone()) for t in self.written]
        recording = Recording()
        try:
            with recording:
                reports = work()
        finally:  # a graph does nothing while it is recorded
            with torch.no_grad():
                for tensor, value in [*reversed(recording.before), *before]:
                    tensor.copy_(value)
        self.recorded += 1

        def replay() -> Any:
            self.replayed += 1
            with torch.no_grad():
                for func, args, kwargs, result in recording.calls:
                    again = func(*args, **kwargs)
                    if all(r.alias_info is None for r in func._schema.returns):  # else a view, or written in place
                        for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                            if isinstance(old, Tensor):
                                old.copy_(new)
            return reports

        return replay
