"""The benchmark of the kernels: what is counted, what is refused, whom a ratio compares."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from ddarts_benchmarks import kernels, nodes, sums, timing
from ddarts_benchmarks.correct import WrongKernelError
from ddarts_benchmarks.nodes import Node
from ddarts_benchmarks.registry import Settings
from ddarts_benchmarks.timing import Contestant

import ddarts.ops
from ddarts.ops import dispatch

CPU = torch.device("cpu")
QUICK = Settings(CPU, quick=True, rounds=1)


@pytest.mark.parametrize(
    ("op", "harm", "says"),
    [
        ("mixed_sum", lambda out: (1.01 * out[0], *out[1:]), "the sum is wrong by 1.0e-02 of its largest value"),
        ("mixed_sum", lambda out: (out[0][:1], *out[1:]), "fails .RuntimeError: Mismatch in shape"),
        ("mixed_sum", lambda out: (out[0] / 0, *out[1:]), "the sum is wrong by (inf|nan)"),
        ("mixed_sum_backward", lambda out: (out[0], out[1] + 1), "the weights' gradient is wrong"),
        ("mixed_sum_backward", lambda out: ([-g for g in out[0]], out[1]), "gradient 0 of the inputs is wrong"),
        ("mixed_sum_backward", lambda out: 1 / 0, "fails .ZeroDivisionError: division by zero"),
        ("threshold", lambda out: out[0].no_such_thing, "fails .AttributeError"),
        ("threshold", lambda out: (~out[0], *out[1:]), "threshold, .* keeps other operations"),
        ("threshold", lambda out: (out[0], out[1].flip(1), out[2]), "threshold, .* keeps other operations"),
        ("threshold", lambda out: (*out[:2], out[2] + 1), "threshold, .* keeps other operations"),
    ],
)
def test_a_wrong_contestant_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, tiny: Node, op: str, harm: Callable[[Any], Any], says: str
) -> None:
    assert ddarts.ops.table()
    right = dispatch._implementations[op]["reference"]
    wrong = dispatch.Implementation(lambda *arguments: harm(right.function(*arguments)))
    monkeypatch.setitem(dispatch._implementations[op], "reference", wrong)
    with pytest.raises(WrongKernelError, match=f"^reference on .*{says}"):
        kernels.measure(QUICK)


def test_bytes_are_those_of_every_pass() -> None:
    """One edge: 7 inputs, 6 with BN."""
    node = Node(1, 2, 3, 4)
    assert node.tensor_bytes == 2 * 3 * 4 * 4 * 4
    forward, sums_of_channels, gradients = 6 + 7 + 1, 1 + 7, 1 + 6 + 7
    counts = {
        nodes.MASKED_FORWARD[0]: forward,
        nodes.FULL: forward + sums_of_channels + gradients,
        nodes.GIVEN: forward - 6 + sums_of_channels + gradients,
        nodes.WEIGHTS_ONLY: forward + sums_of_channels,
    }
    assert {variant: node.bytes_moved(variant) // node.tensor_bytes for variant in counts} == counts


def test_masks_keep_their_share_and_smaller_ones_lie_in_larger_ones() -> None:
    node = Node(5, 2, 3, 4)
    kept = [node.kept(variant.share) for variant in nodes.MASKED]
    assert [sum(mask) for mask in kept] == [35, 26, 18, 9]
    for larger, smaller in zip(kept, kept[1:], strict=False):
        assert all(a or not b for a, b in zip(larger, smaller, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", [nodes.FULL, nodes.GIVEN, nodes.WEIGHTS_ONLY, nodes.LOGITS, *nodes.MASKED])
def test_eager_and_operator_compute_what_is_right(variant: nodes.Variant, dtype: torch.dtype) -> None:
    case = nodes.make_case(Node(1, 4, 3, 5, dtype), CPU)
    wanted = sums.truth(case, variant)
    assert len(wanted) == 2 + (sum(case.node.kept(variant.share)) if variant.wanted else 0)
    for make in (sums.plain, sums.operator):
        sums.check(make.__name__, sums.step(make(case, variant), case, variant)(), wanted)


def test_a_row_s_ratio_is_how_many_times_faster_than_its_baseline(tiny: Node) -> None:
    outcome = kernels.measure(QUICK)
    seconds = {row["id"]: row["seconds"]["median"] for row in outcome.rows}
    for row in outcome.rows:
        if row["ratio"]:
            baseline = row["id"].removesuffix(row["contestant"]) + row["baseline"]
            assert row["ratio"]["median"] == pytest.approx(seconds[baseline] / seconds[row["id"]])
    halves = [row for row in outcome.rows if "50% kept" in row["variant"]]
    assert halves and all(row["cost_of_remaining"]["min"] > 0 for row in halves)


def test_contestants_take_turns_in_their_own_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SHORTEST", 1e-12)
    turns: list[str] = []

    def contestant(name: str) -> Contestant:
        steps = [partial(lambda at: turns.append(f"{name}{at} {dispatch.backend_choice()}"), at) for at in range(3)]
        return Contestant(name, steps, lambda: ddarts.ops.use_backend("reference"))

    seconds = timing.take_turns([contestant("a"), contestant("b")], 2, CPU)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    assert all(turn.endswith(" reference") for turn in turns) and dispatch.backend_choice() == "auto"
    rounds = [turn.split()[0] for turn in turns[4:]]
    assert rounds == ["a1", "b2", "a0", "b1"]  # the buffers rotate too, whoever's turn it is
