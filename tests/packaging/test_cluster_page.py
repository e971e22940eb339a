"""docs/cluster.md: its figures are those of the code and of the measurement."""

import json
import re
from pathlib import Path

import pytest
import torch

from ddarts.config.search import SearchConfig
from ddarts.data.batches import batch_bounds
from ddarts.search import reach
from ddarts.search.schedule import Schedule
from ddarts.space.primitives import DDARTS
from ddarts.space.topology import num_edges
from ddarts.supernet.network import SearchNetwork

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "search-ranks.json").read_text())["ranks"]
CHANNELS = (16, 32)
LATENCY, BANDWIDTH = (20e-6, 30e-6), (150e9, 20e9)  # within a machine of 8 GPUs, between machines


def row(start):
    """The cells of the table's row that begins so."""
    (line,) = re.findall(rf"^\| {re.escape(start)}.*$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def parameters(channels):
    with torch.device("meta"):
        network = SearchNetwork(DDARTS, num_classes=10, init_channels=channels, layers=8)
    return sum(parameter.numel() for parameter in network.parameters())


def volumes(channels, ranks):
    """Numbers in the all-reduces of the architecture step and of the weight step."""
    alphas = 8 * num_edges(4) * len(DDARTS)
    return alphas + 10 + 2 * ranks, parameters(channels) + 2 + 2 * ranks


def test_volumes():
    assert row("architecture step")[0].startswith("784 + 10")
    assert row("weight step")[0] == " or ".join(f"{parameters(channels):,}" for channels in CHANNELS)
    for cell, channels in zip(row("weight step")[1:], CHANNELS, strict=True):
        assert cell == f"{4 * volumes(channels, 2)[1] / 1e6:.1f} MB"


def test_measured():
    numbers = [MEASURED[ranks] for ranks in ("1", "2")]
    for start, found in (
        ("an iteration", [number["seconds"]["median"] for number in numbers]),
        ("its architecture step", [number["phases"]["architecture"]["median"] for number in numbers]),
        ("its weight step", [number["phases"]["weights"]["median"] for number in numbers]),
    ):
        assert row(start) == [f"{seconds:.3f} s" for seconds in found]
    assert row("images a second") == [f"{number['images_per_second']['median']:.0f}" for number in numbers]
    assert row("communication,")[1] == f"{100 * numbers[1]['communication_share']['median']:.1f} %"
    sent = numbers[1]["bytes"]
    assert [4 * count for count in volumes(16, 2)] == [sent["architecture"], sent["weights"]]
    assert row("all-reduces,")[1] == f"2: {sent['architecture'] / 1e3:.1f} kB and {sent['weights'] / 1e6:.2f} MB"


def seconds(ranks, channels):
    """Rings within a machine, then between machines."""
    total = 0.0
    sizes = min(ranks, 8), max(1, ranks // 8)
    for size, latency, bandwidth in zip(sizes, LATENCY, BANDWIDTH, strict=True):
        steps = 2 * (size - 1)
        total += sum(steps * latency + steps / size * 4 * count / bandwidth for count in volumes(channels, ranks))
    return total


@pytest.mark.parametrize("channels", CHANNELS)
def test_model_of_the_all_reduces(channels):
    times = [seconds(ranks, channels) for ranks in (2, 4, 8, 16, 32, 64)]
    assert row(f"channels {channels} ") == [f"{1e3 * time:.1f} ms" for time in times]
    assert 0.1 / (0.1 + times[-1]) > 0.96


@pytest.mark.parametrize("ranks", [1, 4, 8, 16, 32, 64])
def test_how_far_alphas_get(ranks):
    config = SearchConfig(dataset="cifar10", batch_size=96)
    per_epoch = len(batch_bounds(25_000, 96, drop_last=ranks > 1, world_size=ranks))
    stretches = Schedule(config).alpha_steps(per_epoch, 50 * per_epoch)
    rates = config.arch_learning_rate, config.arch_learning_rate_min
    steps, moved, rate = row(f"{ranks} | ")[-3:]
    assert int(steps) == per_epoch
    assert float(moved.split()[0]) == float(f"{reach.travelled(stretches, *rates):.2g}")
    said = reach.warning(stretches, *rates)
    assert ("is needed" in (said or "")) == (float(rate) > config.arch_learning_rate)
    if said:
        assert f"--arch_learning_rate {rate} " in said
