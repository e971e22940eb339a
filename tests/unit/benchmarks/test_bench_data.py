"""The loaders' benchmark: who takes part, what is refused, and what its numbers are."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ddarts_benchmarks import data, waits
from ddarts_benchmarks.correct import WrongKernelError
from ddarts_benchmarks.photographs import CLASSES, make_tree
from ddarts_benchmarks.pipelines import BASELINE, Case, contestants, epochs, image_set
from ddarts_benchmarks.registry import Settings
from PIL import Image

from ddarts.runtime.availability import dali_problem

CPU = torch.device("cpu")
MEMORY, FILES = Case("memory", 16, 6, 2, 1), Case("files", 32, 4, 2, 1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree"), train=2, val=1, size=60)


def test_the_tree_holds_real_files_of_odd_sizes(tree: Path) -> None:
    paths = sorted(tree.rglob("*.JPEG"))
    assert len(paths) == 3 * len(CLASSES)
    images = [Image.open(path) for path in paths]
    assert {image.format for image in images} == {"JPEG"} and len({image.size for image in images}) > 6
    assert all(20 < min(image.size) <= 60 for image in images)
    again = make_tree(tree.parent / "again", train=2, val=1, size=60)
    assert [path.read_bytes() for path in sorted(again.rglob("*.JPEG"))] == [path.read_bytes() for path in paths]
    shutil.rmtree(again)


@pytest.mark.parametrize("case", [MEMORY, FILES])
def test_every_contestant_shows_a_pass(case: Case, tree: Path) -> None:
    images = image_set(case, tree)
    assert len(images) == case.images
    names = contestants(case)
    assert ("resident" in names) is (case is MEMORY) and ("dali" in names) is (dali_problem() is None)
    made = {name: epochs(name, replace(case, threads=0) if name == BASELINE else case, images, CPU) for name in names}
    for epoch in made.values():
        batches = list(epoch(0))
        assert len(batches) == case.batches
        assert batches[0][0].shape == (case.batch, 3, case.side, case.side) and batches[0][1].shape == (case.batch,)
    data._compare(case, made)
    shifted = {**made, "resident": lambda number: ((x, y + 1) for x, y in made["torchvision"](number))}
    with pytest.raises(WrongKernelError, match="resident, .*: shows other images"):
        data._compare(case, shifted)


def test_rates_and_ratios_are_those_of_the_clock_and_of_the_processor() -> None:
    wall = {BASELINE: [2.0, 4.0, 2.0], "dali": [1.0, 1.0, 2.0]}
    cpu = {BASELINE: [3.0, 3.0, 3.0], "dali": [1.5, 1.0, 1.0]}
    found = data._summary(replace(MEMORY, batch=50, batches=2), wall, cpu)
    assert found["images_per_second"]["dali"] == {"min": 50, "median": 100, "max": 100}
    assert found["cpu_microseconds_per_image"][BASELINE]["median"] == pytest.approx(30_000)
    assert found["ratios"] == {"dali": {"min": 1, "median": 2, "max": 4}}
    assert found["per_core_ratios"]["dali"]["median"] == 3
    assert found["share_of_h100_search"]["dali"] == pytest.approx(100 * 0.017 / 192)


def test_the_share_of_waiting_is_that_of_the_step() -> None:
    """A stream that takes three times as long as the step: three quarters, however busy the machine."""
    clock = iter(range(1_000_000))
    ticks = 0.0

    def now() -> float:
        return ticks

    def stream():
        nonlocal ticks
        for number in clock:
            ticks += 3 if number else 1000  # the first one warms up, and does not count
            yield torch.zeros(1), torch.zeros(1)

    def step(batches, number) -> None:
        nonlocal ticks
        assert len(batches) == 1
        ticks += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waits.time, "perf_counter", now)
        assert waits._shares(step, [stream()], CPU) == {"min": 0.75, "median": 0.75, "max": 0.75}


def test_every_loader_feeds_a_training(tree: Path) -> None:
    found = waits.of_training(FILES, tree, Settings(device=CPU, quick=True, rounds=1))
    assert list(found) == list(contestants(FILES))
    assert all(0 < share["min"] <= share["median"] <= share["max"] < 1 for share in found.values())
