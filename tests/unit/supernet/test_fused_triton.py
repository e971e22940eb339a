"""A fused cell on Triton's operators (without a GPU in its interpreter): as on the plain ones, both directions."""

import pytest
import torch

from ddarts.ops import use_backend
from ddarts.space.primitives import DDARTS
from ddarts.space.topology import num_edges
from ddarts.supernet.fused import FusedCell

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS, CHANNELS, IMAGES = 2, 4, 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "stored", "allowed"), [(torch.float64, None, 1e-10), (torch.float32, torch.float16, 1e-2)], ids=str
)
def test_a_cell_its_gradients_and_ablated_ones(dtype, stored, allowed):
    """A reduction: its first two states are left with stride 2, the third with stride 1."""
    cell = FusedCell(DDARTS, STEPS, 2, (4, 6), CHANNELS, reduction=True, after_reduction=False).to(DEVICE, dtype)
    cell.stored = stored
    kind = {"dtype": dtype, "device": DEVICE}
    states = [torch.randn(IMAGES, c, 3, 4, **kind) for c in (4, 6)]
    weights = torch.rand(2, num_edges(STEPS), len(DDARTS), **kind)
    found = []
    for backend in ("reference", "triton"):
        with use_backend(backend):
            leaves = [x.clone().requires_grad_() for x in (*states, weights[0])]
            out = cell(*leaves)
            gradients = torch.autograd.grad(out, [*leaves, *cell.parameters()], out.detach().cos())
            with torch.no_grad():
                cell.hold_weights(True)
                groups = cell.run_groups(tuple(states), (None, states[1]), weights)
                cell.hold_weights(False)
        found.append([out.detach(), *gradients, groups])
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=allowed, atol=allowed)
