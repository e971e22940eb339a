"""`--seeds`: independent runs, one after the other or side by side, and what they agree on."""

import json
import statistics
from dataclasses import replace

import pytest

import ddarts
from ddarts.config import SearchConfig
from ddarts.config import resolve as options_of
from ddarts.config.files import to_yaml
from ddarts.genotype.distance import distance
from ddarts.genotype.files import read, write
from ddarts.genotype.zoo import resolve
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.runtime.rundir import DONE
from ddarts.search import seeds as seeds_module
from ddarts.search.seeds import SeedRun, summary


def config(out, **options):
    tiny = {"image_size": 8, "init_channels": 2, "layers": 3, "steps": 2, "multiplier": 2, "batch_size": 240}
    tiny |= {"epochs": 1, "max_steps": 1, "op_threshold": 0.4, "parse_method": "darts"}
    return SearchConfig(**{**tiny, "dataset": "digits", "device": "cpu", "out": str(out), "save": "run", **options})


def finished(out, seed, accuracy, genotype):
    """A run that says it is done."""
    run = SeedRun(config(out, seed=seed, save=f"run-seed{seed}"))
    run.folder.mkdir(parents=True)
    found = {"run_dir": str(run.folder), "genotype": None, "valid_acc": accuracy}
    if genotype:
        path = run.folder / "genotype.json"
        found["genotype"] = str(write(resolve(genotype), path))
    (run.folder / DONE).write_text(json.dumps(found))
    return run


def test_mean_deviation_and_who_agrees(tmp_path):
    one, other = "baseline_ResNet18", "baseline_ResNet50"
    runs = [finished(tmp_path, *each) for each in ((3, 90.0, one), (5, 92.0, other), (7, 97.0, one), (8, 95.0, None))]
    found = summary(runs)
    assert found["valid_acc"]["mean"] == pytest.approx(93.5)
    assert found["valid_acc"]["std"] == pytest.approx(statistics.stdev([90, 92, 97, 95]))
    assert found["same_genotype"] == [[3, 7], [5]] and found["without_genotype"] == [8]
    apart = distance(resolve(one), resolve(other)).distance
    assert found["mean_distance"] == pytest.approx(2 * apart / 3)  # two pairs of three differ
    assert [run["seed"] for run in found["runs"]] == [3, 5, 7, 8]


def test_a_seed_that_has_a_run_already_is_refused_before_any_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds_module, "_Pool", None)
    finished(tmp_path, 1, 90.0, None)
    with pytest.raises(UsageError, match="run-seed1: already holds a run.*--resume"):
        ddarts.search(config(tmp_path, seeds=(0, 1)))


def test_a_seed_goes_on_under_the_options_of_the_command(tmp_path):
    run = SeedRun(config(tmp_path, seed=1, save="run-seed1", epochs=7))
    (run.folder / "checkpoints" / "step_0000000001").mkdir(parents=True)
    to_yaml(replace(run.config, epochs=1), run.folder / "config.yaml")
    words = run.words("cpu", tmp_path)
    assert words[-1] == "--resume"
    found = options_of(SearchConfig, {"resume": "auto"}, words[words.index("--config") + 1])
    assert (found.epochs, found.seed, found.resume) == (7, 1, str(run.folder))


@pytest.mark.slow
def test_seeds_run_side_by_side_and_a_resumed_command_keeps_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds_module, "_devices", lambda name: [name, name])
    found = ddarts.search(config(tmp_path, seeds=(0, 1)))
    genotypes = [read(run["genotype"]).cells for run in found["runs"]]
    alone = ddarts.search(config(tmp_path, seed=1, save="alone"))
    assert read(alone["genotype"]).cells == genotypes[1]  # as the seed by itself
    assert json.loads((tmp_path / "search" / "run-seeds.json").read_text()) == found
    (tmp_path / "search" / "run-seed1" / DONE).unlink()
    kept = (tmp_path / "search" / "run-seed0" / DONE).stat().st_mtime_ns
    again = ddarts.search(config(tmp_path, seeds=(0, 1), resume="auto"))
    assert (tmp_path / "search" / "run-seed0" / DONE).stat().st_mtime_ns == kept
    assert [read(run["genotype"]).cells for run in again["runs"]] == genotypes


@pytest.mark.slow
def test_a_seed_that_fails_is_named_with_its_log(tmp_path, monkeypatch):
    words = SeedRun.words
    monkeypatch.setattr(SeedRun, "words", lambda *a: [*words(*a), "--init_from", "/nowhere"])
    with pytest.raises(DdartsError, match="seed 0: its run ended with exit code 2; see .*log.txt"):
        ddarts.search(config(tmp_path, seeds=(0,)))
