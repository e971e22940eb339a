"""Several seeds of a search: who runs when, what is kept, and what is said about them."""

import json
import sys
from dataclasses import replace

import pytest

from ddarts.config import SearchConfig, resolve
from ddarts.genotype.files import write
from ddarts.genotype.zoo import resolve as architecture
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.search import seeds as module
from ddarts.search.seeds import SeedRun, search_seeds

NAMES = {0: "DD-cifar10", 1: "DD-4", 2: "DD-cifar10", 3: None}
# Stands for a search: leaves the result that a test laid down for its seed, or fails.
STAND_IN = """
import json, pathlib, sys
folder, result, begun = map(pathlib.Path, sys.argv[1:])
with open(begun, "a") as file:
    print(folder.name, file=file)
if not result.exists():
    sys.exit(3)
folder.mkdir(parents=True)
(folder / "DONE").write_text(result.read_text())
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    for seed, name in NAMES.items():
        path = None if name is None else str(write(architecture(name), tmp_path / f"{seed}.json"))
        result = {"run_dir": "", "genotype": path, "valid_acc": 90.0 + seed}
        (tmp_path / f"result-{seed}").write_text(json.dumps(result))

    def words(run, device, folder):
        seed = run.config.seed
        return [sys.executable, str(script), str(run.folder), str(tmp_path / f"result-{seed}"), str(tmp_path / "begun")]

    monkeypatch.setattr(SeedRun, "words", words)
    return SearchConfig(dataset="digits", out=str(tmp_path), save="s", seeds=(0, 1, 2, 3), device="cpu")


def test_mean_deviation_and_who_agrees(config, tmp_path):
    found = search_seeds(config)
    assert found["valid_acc"] == {"mean": 91.5, "std": pytest.approx(1.29099, abs=1e-5)}
    assert found["same_genotype"] == [[0, 2], [1]] and found["without_genotype"] == [3]
    assert found["mean_distance"] > 0
    assert [run["seed"] for run in found["runs"]] == [0, 1, 2, 3]
    assert json.loads((tmp_path / "search" / "s-seeds.json").read_text()) == found
    assert (tmp_path / "begun").read_text().split() == [f"s-seed{seed}" for seed in range(4)]


def test_finished_runs_are_kept_and_never_written_over(config, tmp_path):
    search_seeds(replace(config, seeds=(0, 1)))
    with pytest.raises(UsageError, match="s-seed0: already holds a run; choose another --save, or add --resume"):
        search_seeds(config)
    search_seeds(replace(config, resume="auto"))
    assert (tmp_path / "begun").read_text().split() == [f"s-seed{seed}" for seed in range(4)]


def test_a_run_that_fails_is_named(config, tmp_path):
    (tmp_path / "result-1").unlink()
    with pytest.raises(DdartsError, match="seed 1: its run ended with exit code 3; .* the same command and --resume"):
        search_seeds(config)


def test_several_devices_work_at_once(config, monkeypatch):
    together = []

    class Watched(module._Pool):
        def _start(self, run, device):
            super()._start(run, device)
            together.append((len(self.working), device))

    monkeypatch.setattr(module, "_Pool", Watched)
    monkeypatch.setattr(module, "_devices", lambda name: ["cuda:0", "cuda:1"])
    search_seeds(config)
    assert max(count for count, _ in together) == 2 and {device for _, device in together} == {"cuda:0", "cuda:1"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"seeds": "1,1"}, "--seeds 1,1: names a seed twice"),
        ({"seeds": "a"}, "--seeds a: must be whole numbers"),
        ({"seeds": "0,1", "resume": "logs/search/x"}, "--resume logs/search/x: --seeds has several runs"),
    ],
)
def test_nonsense_is_refused(given, named):
    with pytest.raises(UsageError, match=named):
        resolve(SearchConfig, {"dataset": "digits", "save": "s", **given})
