"""No search iteration is timed that computes something else than the exact schedule on the reference network."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ddarts_benchmarks.correct import check_close
from ddarts_benchmarks.iterations import EXACT, HALF, Case, batches, exact_iteration, start

REFERENCE, OURS = EXACT
GRADIENT, STEP = "α's gradient", "α's step"
# Relative to the largest value. In float64 nothing but a mistake is left. In float32 a rounding that moves a maximum in
# a pool, or the sign of what a ReLU reads, moves gradients by up to a hundredth, the reference's as well.
_STRICT = 1e-7
_ALLOWED = {"the losses": 1e-4, GRADIENT: 2e-2, STEP: 1e-2, "the weights' gradient": 5e-2, "BN's statistics": 1e-3}
# Half storage rounds what is normalised to 11 bits.
_ALLOWED_HALF = {"the losses": 1e-3, GRADIENT: 1e-1, STEP: 5e-2, "the weights' gradient": 1e-1, "BN's statistics": 1e-3}
_CLEAR = 5e-2  # of the largest gradient: below it Adam's first step, nearly a sign, may turn by a rounding
_SMALL: dict[str, Any] = {"batch": 2, "side": 16, "dtype": torch.float64}


def check_agreement(case: Case, device: torch.device) -> None:
    """WrongKernelError unless one iteration of ours gives losses, gradients, steps and BN statistics of the reference:
    in float64 on a few small images, then in the case's own size and dtype; in half storage in the latter only.
    """
    _check(OURS, replace(case, **_SMALL), device, dict.fromkeys(_ALLOWED, _STRICT))
    _check(OURS, case, device, _ALLOWED)
    if HALF in case.contestants:
        _check(HALF, case, device, _ALLOWED_HALF)


def _check(name: str, case: Case, device: torch.device, allowed: dict[str, float]) -> None:
    wanted, got = (_results(each, case, device) for each in (REFERENCE, name))
    clear = wanted[GRADIENT].abs() > _CLEAR * wanted[GRADIENT].abs().max()
    for found in (wanted, got):
        found[STEP] = found[STEP][clear]
    for what, limit in allowed.items():
        who = f"{name} on an iteration of {case} in {str(case.dtype).removeprefix('torch.')}"
        check_close(who, [got[what]], [wanted[what].double()], [what], limit)


def _results(name: str, case: Case, device: torch.device) -> dict[str, Tensor]:
    """What one iteration computes. Its weight step starts from the initial α again, so that a step of α that turned by
    a rounding does not show in the weights."""
    exact, (valid, train) = exact_iteration(name, case, device), batches(case, device, torch.channels_last)
    seen = exact.architecture_step(valid, 0)
    assert seen.found is not None
    first = start(case).to(exact.alphas.logits)
    step = exact.alphas.logits.detach() - first
    with torch.no_grad():
        exact.alphas.logits.copy_(first)
    trained = exact.weight_step(train, 0)
    moved = [exact.weights.optimizer.state[weight]["momentum_buffer"].flatten() for weight in exact.parameters]
    running = [b for key, b in exact.network.named_buffers() if key.endswith(("running_mean", "running_var"))]
    return {
        "the losses": torch.stack([seen.ce, trained.ce, *(seen.ce - seen.found.marginal)]),
        GRADIENT: exact.alpha_optimizer.state[exact.alphas.logits]["exp_avg"],
        STEP: step,
        "the weights' gradient": torch.cat(moved),
        "BN's statistics": torch.cat(running),
    }
