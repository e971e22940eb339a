"""A batch worked off in parts, whose results are added: less memory, the same step (BN sees the parts)."""

from collections.abc import Sequence

from torch import Tensor

Batch = tuple[Tensor, Tensor]


def split(batch: Batch, parts: int) -> list[tuple[float, Batch]]:
    """A batch in `parts` (or fewer, where it has fewer images), each with its share of the images."""
    images, labels = batch
    if parts == 1:
        return [(1.0, batch)]
    pairs = zip(images.chunk(parts), labels.chunk(parts), strict=True)
    return [(len(pair[1]) / len(labels), pair) for pair in pairs]


def weighted(value: Tensor, share: float) -> Tensor:
    """What a part says, times its share."""
    return value if share == 1.0 else value * share


def totals(seen: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The sums of what the parts say, one list of values a part."""
    first, *others = seen
    found = list(first)
    for other in others:
        found = [a + b for a, b in zip(found, other, strict=True)]
    return found
