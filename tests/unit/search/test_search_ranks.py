"""P ranks with batches of b images equal one process with batches of P·b and ghost BN of P groups (threads as ranks).

Processes, DDP and DeepSpeed: tests/distributed.
"""

import copy

import pytest
import torch
from ghost_norm import GhostNorm, make_ghost
from search_ranks import batch_of, iteration_of, network_of, run
from thread_ranks import on_ranks
from tolerances import assert_close

from ddarts.runtime.errors import DivergedError
from ddarts.runtime.loss_scale import LossScale
from ddarts.runtime.parts import split
from ddarts.runtime.ranks.statistics import Statistics


@pytest.mark.parametrize(
    ("size", "parts", "recipe", "single_level"),
    [(2, 1, "paper", False), (4, 1, "paper", True), (2, 2, "official", False), (1, 2, "paper", True)],
)
def test_ranks_and_parts_are_one_process_with_ghost_bn(size, parts, recipe, single_level):
    ghost = make_ghost(network_of(), size * parts)
    whole = iteration_of(ghost, recipe=recipe)
    expected = run(whole, single_level=single_level)
    networks = [network_of() for _ in range(size)]

    def work(group):
        network = networks[group.rank]
        ranks = iteration_of(network, group, recipe, parts=parts)
        seen = run(ranks, group.rank, size, single_level)
        group.check_same("α", ranks.alphas.logits)
        group.check_same("weights", *network.parameters())
        with Statistics(network, group).reduced():
            return seen, ranks.alphas.logits.detach(), copy.deepcopy(network.state_dict())

    for seen, logits, state in on_ranks(size, work):
        assert_close(seen, expected, 1e-12)
        assert_close(logits, whole.alphas.logits.detach(), 1e-12)
        for name, parameter in ghost.named_parameters():
            assert_close(state[name], parameter.detach(), 1e-12)
        if parts == 1:  # parts follow one another in time, and move the running statistics so
            for name, norm in ghost.named_modules():
                if isinstance(norm, GhostNorm):
                    mean, variance = norm.common()
                    assert (state[f"{name}.running_mean"] - mean).abs().max() < 1e-12  # some are zero but for rounding
                    assert_close(state[f"{name}.running_var"], variance, 1e-12)


def test_statistics_of_a_rank_are_its_own_again_after_an_evaluation():
    networks = [network_of() for _ in range(2)]

    def work(group):
        network = networks[group.rank]
        run(iteration_of(network, group), group.rank, 2, steps=1)
        statistics, before = Statistics(network, group), copy.deepcopy(network.state_dict())
        rows = statistics.gather()
        with statistics.reduced():
            inside = copy.deepcopy(network.state_dict())
        after = network.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        statistics.scatter(rows.flip(0))
        return before, inside, network.state_dict()

    (own, common, taken), (other, same, _) = on_ranks(2, work)
    name = "stem.1.running_mean"
    assert torch.equal(common[name], same[name]) and not torch.equal(own[name], other[name])
    assert torch.equal(taken[name], other[name])


@pytest.mark.parametrize("bad_step", ["architecture_step", "weight_step"])
def test_nan_on_one_rank_stops_all_before_the_update(bad_step):
    networks = [network_of() for _ in range(2)]

    def work(group):
        ranks = iteration_of(networks[group.rank], group)
        run(ranks, group.rank, 2, steps=1)
        before = [p.detach().clone() for p in (ranks.alphas.logits, *ranks.parameters)]
        try:
            for name in ("architecture_step", "weight_step"):
                images, labels = batch_of(9, group.rank, 2)
                poison = torch.nan if group.rank == 1 and name == bad_step else 1
                if name == bad_step:
                    before[0] = ranks.alphas.logits.detach().clone()
                getattr(ranks, name)((images * poison, labels), 7)
        except DivergedError as error:
            after = ranks.alphas.logits, *ranks.parameters
            assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
            return str(error)

    for message in on_ranks(2, work):
        assert isinstance(message, str) and "step 7 on rank 1 or its gradient" in message, message


def test_an_overflow_on_one_rank_leaves_out_alpha_and_weights_on_all():
    networks = [network_of(torch.float32) for _ in range(2)]

    def work(group):
        scale = LossScale(enabled=True)
        ranks = iteration_of(networks[group.rank], group, "official", scale)
        before = [p.detach().clone() for p in (ranks.alphas.logits, *ranks.parameters)]
        for step, poison in enumerate((torch.inf if group.rank == 1 else 1, 1)):
            images, labels = batch_of(step, group.rank, 2, torch.float32)
            ranks.architecture_step((images, labels), step)
            ranks.weight_step((images * poison, labels), step)
            same = [torch.equal(a, b) for a, b in zip(before, (ranks.alphas.logits, *ranks.parameters), strict=True)]
            assert all(same) if step == 0 else not any(same)
        return scale.skipped, scale.value

    assert on_ranks(2, work) == [(1, 2.0**15)] * 2


def test_a_request_to_stop_reaches_every_rank_with_the_next_step():
    networks = [network_of() for _ in range(2)]

    def work(group):
        ranks, answers = iteration_of(networks[group.rank], group), []
        for step in range(2):
            group.wants_stop = lambda asked=group.rank == 1 and step == 1: asked
            ranks.weight_step(batch_of(step, group.rank, 2), step)
            answers.append(group.agreed_to_stop())
        return answers

    assert on_ranks(2, work) == [[False, True]] * 2


def test_parts_share_out_a_batch():
    images, labels = batch_of(0)
    shares = split((images, labels), 3)
    assert [share for share, _ in shares] == [6 / 16, 6 / 16, 4 / 16]
    assert torch.equal(torch.cat([part[1] for _, part in shares]), labels)
    assert split((images, labels), 1)[0][1][0] is images
