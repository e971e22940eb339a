"""Accuracy and loss against a count by hand."""

import pytest
import torch

from ddarts.runtime.errors import DdartsError
from ddarts.runtime.metrics import EvalResult, evaluate


def by_hand(logits, labels):
    top1 = top5 = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        rank = sum(value > row[label] for value in row)
        top1 += rank < 1
        top5 += rank < 5
    loss = -torch.log_softmax(logits.double(), 1)[torch.arange(len(labels)), labels].mean().item()
    return EvalResult(100 * top1 / len(labels), 100 * top5 / len(labels), loss, len(labels))


@pytest.mark.parametrize("classes", [2, 4, 5, 10])
def test_against_a_count_by_hand(classes):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(23, classes, generator=generator)
    labels = torch.randint(0, classes, (23,), generator=generator)
    batches = [(logits[a : a + 5], labels[a : a + 5]) for a in range(0, 23, 5)]  # the last one is smaller
    result = evaluate(lambda x: x, batches)
    expected = by_hand(logits, labels)
    assert (result.top1, result.top5, result.images) == (expected.top1, expected.top5, 23)
    assert result.loss == pytest.approx(expected.loss, rel=1e-6)
    assert 0 < result.top1 < 100 and (result.top5 == 100) == (classes <= 5)


def test_another_loss_and_no_gradients():
    weights = torch.ones(3, requires_grad=True)
    seen = []

    def model(x):
        seen.append(torch.is_grad_enabled())
        return x * weights

    batch = (torch.tensor([[1.0, 2, 3], [3, 2, 1]]), torch.tensor([2, 2]))
    result = evaluate(model, [batch], loss=lambda logits, labels: logits.gather(1, labels[:, None])[:, 0])
    assert result == EvalResult(50.0, 100.0, 2.0, 2) and seen == [False]


def test_half_precision_logits_are_summed_in_float64():
    logits, labels = torch.zeros(1, 10, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.int64)
    result = evaluate(lambda x: x, [(logits, labels)] * 3000)
    assert result.loss == pytest.approx(2.302585092994046, rel=1e-6) and result.images == 3000


def test_the_host_waits_only_at_the_end(monkeypatch):
    waits = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, _f=original, _n=name, **k: (waits.append(_n), _f(self, *a, **k))[1]
        )
    evaluate(lambda x: x, [(torch.randn(4, 6), torch.zeros(4, dtype=torch.int64))] * 7)
    assert waits == ["tolist"]


def test_nothing_to_evaluate_and_an_unknown_loss():
    with pytest.raises(DdartsError, match="no images"):
        evaluate(lambda x: x, [])
    with pytest.raises(ValueError, match="loss 'mse'"):
        evaluate(lambda x: x, [], loss="mse")
