"""What every test starts from: one thread, one seed, the backend nobody chose. Nothing else is shared."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts its pool: two busy cores run several threads far slower

import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    import numpy
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    numpy.random.seed(0)  # noqa: NPY002


@pytest.fixture(autouse=True)
def _no_backend_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDARTS_BACKEND", raising=False)
