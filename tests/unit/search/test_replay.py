"""Recorded iterations are those that run operation by operation, bit for bit; nothing in them waits for the host."""

import copy
import logging
import math

import pytest
import torch

from ddarts.config import SearchConfig
from ddarts.runtime.errors import DivergedError
from ddarts.runtime.schedule import set_learning_rate
from ddarts.search import build, engine
from ddarts.search.build import build_searcher
from ddarts.search.guard import Guard
from ddarts.search.phases import Bilevel, Pretraining, SingleLevel
from ddarts.search.replay import WARM_UP, CudaGraphs, launching, replaying
from tests.bits import assert_same_bits
from tests.unit.search.recorded_graph import RecordedOperations, Refusing

CPU = torch.device("cpu")
TINY = {"dataset": "digits", "image_size": 8, "init_channels": 2, "layers": 3, "steps": 2, "multiplier": 2}
STEPS = WARM_UP + 3


def searcher(**options):
    rates = {"learning_rate": 0.25, "arch_learning_rate": 0.5}
    found = build_searcher(SearchConfig(**{**TINY, **rates, **options}), 10, CPU)
    found.network.train()
    return found


def guarded(monkeypatch, **options):
    """A searcher whose host does not wait, as on a GPU."""
    monkeypatch.setattr(build, "_guard", lambda *_: Guard(CPU))
    return searcher(**options)


def batches(count=2 * STEPS, poisoned=()):
    """The last but one is smaller, as at the end of an epoch."""
    generator = torch.Generator().manual_seed(1)
    for i in range(count):
        images = torch.randn(4 if i == count - 2 else 6, 3, 8, 8, generator=generator)
        yield images * (math.nan if i in poisoned else 1), torch.arange(len(images))


def phase_of(kind, found, valid):
    return Bilevel(found.iteration, valid) if kind is Bilevel else kind(found.iteration)


def steps(found, phase, training):
    """All steps, with other learning rates from the last but two on; what each reports."""
    seen = []
    for number, batch in enumerate(training):
        if number == STEPS - 2:
            set_learning_rate(found.iteration.weights.optimizer, 0.125)
            set_learning_rate(found.iteration.alpha_optimizer, 0.0625)
        architecture, weights = phase.run(phase.batches(batch), number)
        values = [weights.ce, weights.correct, weights.gradient_norm]
        if architecture is not None:
            values += [architecture.ce, architecture.zero_one, architecture.found.marginal]
        seen.append([value.clone() for value in values])
    return seen


def state(found):
    """All that a search keeps."""
    iteration = found.iteration
    optimizers = [o.state_dict()["state"] for o in (iteration.weights.optimizer, iteration.alpha_optimizer)]
    return [found.network.state_dict(), found.alphas.state_dict(), *optimizers, iteration.recipe.state()]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Bilevel, {}),
        (Bilevel, {"supernet": "reference", "backend": "cpp"}),
        (Bilevel, {"recipe": "official"}),
        (Bilevel, {"ablation_every": 2}),
        (Bilevel, {"ablation_every": 3}),
        (Bilevel, {"accumulate": 2}),
        (SingleLevel, {}),
        (Pretraining, {"recipe": "official"}),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_recorded_iterations_are_the_same_bits(kind, options, monkeypatch):
    plain = searcher(**options)
    expected = steps(plain, phase_of(kind, plain, batches()), list(batches(STEPS)))
    found = guarded(monkeypatch, **options)
    graphs = RecordedOperations(found.network.buffers())
    phase = replaying(found.iteration, graphs)(phase_of(kind, found, batches()))
    assert_same_bits(steps(found, phase, list(batches(STEPS))), expected)
    assert_same_bits(state(found), state(plain))
    kinds = 2 if options.get("ablation_every") == 3 else 1  # with and without ablations
    assert graphs.recorded == kinds and graphs.replayed == STEPS - WARM_UP - 1


def test_only_a_guarded_search_is_recorded_and_only_if_it_may(monkeypatch):
    phase = Pretraining(None)
    assert launching(SearchConfig(), searcher().iteration)(phase) is phase
    assert launching(SearchConfig(cuda_graphs="off"), guarded(monkeypatch).iteration)(phase) is phase


def test_what_a_graph_cannot_do_is_refused():
    x = torch.ones(3)
    for work in (lambda: x.sum().item(), lambda: bool(x[0] > 0), lambda: x[[0, 2]], lambda: x.new_tensor([1.0])):
        with Refusing(), pytest.raises(RuntimeError, match="makes the host wait"):
            work()


@pytest.mark.parametrize("place", [WARM_UP - 1, WARM_UP + 1], ids=["eager", "recorded"])
@pytest.mark.parametrize("half", ["training", "validation"])
def test_a_loss_that_is_not_finite_stops_all_updates_until_it_is_asked_for(half, place, monkeypatch):
    found = guarded(monkeypatch)
    poisoned = {half: (place,)}
    valid = batches(poisoned=poisoned.get("validation", ()))
    phase = replaying(found.iteration, RecordedOperations(found.network.buffers()))(Bilevel(found.iteration, valid))
    training = list(batches(2 * STEPS, poisoned.get("training", ())))[:STEPS]
    kept = None
    for number, batch in enumerate(training):
        phase.run(phase.batches(batch), number)
        now = [p.detach().clone() for p in (*found.network.parameters(), found.alphas.logits)]
        if number == place:
            kept = copy.deepcopy(now)
        elif number > place:
            assert_same_bits(now, kept)
        else:
            found.iteration.check()
    assert all(p.isfinite().all() for p in kept)
    words = "the training loss" if half == "training" else "the loss"
    with pytest.raises(
        DivergedError, match=f"^{words} of step {place} or its gradient.*not finite .loss nan.*; nothing"
    ):
        found.iteration.check()


def test_a_weight_gradient_of_infinity_leaves_the_update_out(monkeypatch):
    found = guarded(monkeypatch, cell_loss="none")
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda gradients: torch.tensor(math.inf))
    before = [p.detach().clone() for p in found.network.parameters()]
    found.iteration.weight_step(next(batches()), 7)
    assert_same_bits([p.detach() for p in found.network.parameters()], before)
    with pytest.raises(DivergedError, match="the training loss of step 7 or its gradient is not finite"):
        found.iteration.check()


def test_what_cannot_be_recorded_runs_on_as_it_is(monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    plain, found = searcher(), guarded(monkeypatch)
    expected = steps(plain, Bilevel(plain.iteration, batches()), list(batches(STEPS)))

    class Broken(RecordedOperations):
        def record(self, work):
            with monkeypatch.context() as patch:  # in the middle of a step
                patch.setattr(found.iteration.weights, "step", lambda norm: norm.item())
                return super().record(work)

    graphs = Broken(found.network.buffers())
    phase = replaying(found.iteration, graphs)(Bilevel(found.iteration, batches()))
    assert_same_bits(steps(found, phase, list(batches(STEPS))), expected)
    assert [r.message for r in caplog.records] == [
        "iterations run without CUDA graphs: aten._local_scalar_dense.default makes the host wait for its device"
    ]


def test_a_recorded_search_goes_on_after_a_stop_in_the_same_bits(monkeypatch, tmp_path):
    """Another run's checkpoints, in the same place of every step, whoever computes them."""
    import ddarts
    from ddarts.runtime.checkpoint import CheckpointStore

    options = {**TINY, "device": "cpu", "batch_size": 64, "out": str(tmp_path), "epochs": 2, "checkpoint_every": 5}
    monkeypatch.setattr(build, "_guard", lambda *_: Guard(CPU))
    recorded = []

    def launched(config, iteration):
        recorded.append(RecordedOperations(iteration.network.buffers()))
        return replaying(iteration, recorded[-1])

    def last(name):
        return CheckpointStore(tmp_path / "search" / name / "checkpoints").load()[0]

    monkeypatch.setattr(engine, "launching", launched)
    ddarts.search(SearchConfig(**options, save="whole"))
    ddarts.search(SearchConfig(**options, save="parts", max_steps=8))
    ddarts.search(SearchConfig(**options, save="parts", resume=str(tmp_path / "search" / "parts")))
    assert all(graphs.replayed > 0 for graphs in recorded)
    whole, parts = last("whole"), last("parts")
    for name in ("network", "alphas", "weight_optimizer", "alpha_optimizer"):
        assert_same_bits(whole[name], parts[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("recipe", ["paper", "official"])
def test_on_a_gpu(recipe):
    """Recorded by CUDA against operation by operation: rounding apart, the library's convolutions may be another."""
    device, found = torch.device("cuda"), []
    for recorded in (False, True):
        built = build_searcher(SearchConfig(**TINY, recipe=recipe), 10, device)
        built.network.train()
        moved = ((images.to(device), labels.to(device)) for images, labels in batches())
        phase = Bilevel(built.iteration, moved)
        if recorded:
            phase = replaying(built.iteration, CudaGraphs(device))(phase)
        seen = steps(built, phase, [(images.to(device), labels.to(device)) for images, labels in batches(STEPS)])
        built.iteration.check()
        assert not recorded or len(phase._replays) == 1 and not phase._impossible
        found.append([*(value for each in seen for value in each), built.alphas.logits.detach()])
    for expected, actual in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=1e-3)
