"""A benchmark of the kernels that takes a moment."""

import pytest
from ddarts_benchmarks import kernels
from ddarts_benchmarks.nodes import Node


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Node:
    """`bench kernels --quick` measures this node, one stack of cells, and the reference alone."""
    node = Node(1, 2, 3, 4)
    monkeypatch.setattr(kernels, "QUICK", (node,))
    monkeypatch.setattr(kernels, "STACKS", ((2, 5, 7),))
    monkeypatch.setattr(kernels, "BACKENDS", {"cpu": ("reference",)})
    return node
