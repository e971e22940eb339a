"""What a search keeps, found by the thresholding operator, is what the parser of α files keeps."""

import pytest
import torch

from ddarts.genotype.parse import METHODS, keep_mask, parse
from ddarts.runtime.errors import DdartsError
from ddarts.search.discretise import ParseRule
from ddarts.search.layout import Layout
from ddarts.space.primitives import DDARTS

LAYOUT = Layout(DDARTS, steps=4, multiplier=4, reductions=(1,), sequence=(0, 1, 2))


def mixing() -> torch.Tensor:
    """σ(α) of 3 cells; the methods and thresholds keep different operations of it."""
    return torch.rand(3, 14, 7, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("threshold", [0.3, 0.8])
@pytest.mark.parametrize("method", METHODS)
def test_kept_and_genotype_follow_the_rule(method: str, threshold: float) -> None:
    rule = ParseRule(LAYOUT, method, threshold)
    values = mixing().double().numpy()
    assert rule.kept(mixing()) == keep_mask(values, DDARTS, 4, method, threshold).tolist()
    genotype, problems = rule.genotype(mixing(), "found")
    assert not problems and (genotype.reductions, genotype.sequence, genotype.concat) == ((1,), None, (2, 3, 4, 5))
    assert genotype.cells == parse(values, DDARTS, 4, method, threshold)


def test_the_rules_differ() -> None:
    """Else the test above could not tell one from another."""
    kept = {str(ParseRule(LAYOUT, m, t).kept(mixing())) for m in METHODS for t in (0.3, 0.8)}
    assert len(kept) == 6  # at 0.3 threshold_sparse keeps what darts keeps


def test_alphas_that_are_no_numbers_are_refused() -> None:
    broken = mixing()
    broken[1, 2, 3] = float("nan")
    with pytest.raises(DdartsError, match="cell 1, edge 2, sep_conv_3x3 is nan"):
        ParseRule(LAYOUT, "threshold_edge", 0.85).genotype(broken, "found")


def test_cells_that_positions_share_stay_shared() -> None:
    shared = Layout(DDARTS, steps=4, multiplier=2, reductions=(1, 3), sequence=(0, 1, 1, 2, 0))
    rule = ParseRule(shared, "threshold_edge", 0.3)
    genotype, problems = rule.genotype(mixing(), "found")
    assert not problems and len(genotype.cells) == 3
    assert (genotype.sequence, genotype.reductions, genotype.concat) == ((0, 1, 1, 2, 0), (1, 3), (4, 5))
    single = ParseRule(LAYOUT, "threshold_edge", 0.3).kept(mixing())
    assert rule.kept(mixing()) == [single[cell] for cell in shared.sequence]
