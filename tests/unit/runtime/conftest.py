"""A store of checkpoints in a fresh folder."""

import pytest

from ddarts.runtime.checkpoint import CheckpointStore


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")
