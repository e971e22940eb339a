"""What every test starts from: one thread, one seed, the backend nobody chose. Nothing else is shared."""

import os
import sys
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts its pool: two busy cores run several threads far slower
if not os.path.exists("/dev/nvidia0"):  # before anything imports Triton, which asks once
    os.environ["TRITON_INTERPRET"] = "1"

import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    import numpy

    numpy.random.seed(0)  # noqa: NPY002
    torch = sys.modules.get("torch")  # a test that imports it later finds torch's own fixed seed and OMP_NUM_THREADS
    if torch is not None:
        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_backend_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDARTS_BACKEND", raising=False)


@pytest.fixture(autouse=True)
def _no_backend_chosen() -> Iterator[None]:
    """A backend that a test chose (every command does) ends with the test. Only ddarts.ops.dispatch knows of one, so
    where it is not imported there is nothing to do, and torch stays out."""
    yield
    dispatch = sys.modules.get("ddarts.ops.dispatch")
    if dispatch is not None:
        dispatch._chosen = None  # type: ignore[attr-defined]
