"""Names of the operations and the two search spaces built from them.

Source: D-DARTS (arXiv 2108.09306), sections 4 and 5. The order of the operations is part of the format of
every α file and of every genotype's meaning; it never changes.
"""

from dataclasses import dataclass

from ddarts.runtime.errors import UsageError


@dataclass(frozen=True)
class Space:
    """An ordered set of candidate operations for every edge of a cell."""

    name: str
    operations: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.operations)


DDARTS = Space(
    "ddarts",
    (
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    ),
)
DARTOPTI = Space(
    "dartopti",
    (
        "conv_3x1_1x3",
        "conv_7x1_1x7",
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "simple_conv_1x1",
        "simple_conv_3x3",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "bottleneck_1x3x1",
    ),
)
SPACES = {space.name: space for space in (DDARTS, DARTOPTI)}

# Defined for genotypes written by hand; no search proposes them.
EXTRA_OPERATIONS = ("sep_conv_7x7", "simple_conv_5x5", "bottleneck_1x5x1")
OPERATIONS = tuple(dict.fromkeys(DDARTS.operations + DARTOPTI.operations + EXTRA_OPERATIONS))


def space(name: str) -> Space:
    """The search space called `name`; UsageError names the known ones."""
    if name not in SPACES:
        raise UsageError(f"unknown space '{name}': use one of {', '.join(SPACES)}")
    return SPACES[name]
