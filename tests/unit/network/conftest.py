"""Fixtures of the network tests."""

import pytest
from made_genotypes import PLAIN, genotype

from ddarts.genotype.schema import Genotype


@pytest.fixture
def three_cells() -> Genotype:
    """Three equal cells of two nodes; the second reduces."""
    return genotype(PLAIN, PLAIN, PLAIN, reductions=(1,))
