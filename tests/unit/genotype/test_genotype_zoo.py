"""Names and paths to genotypes."""

import pytest

from ddarts.genotype import files, zoo
from ddarts.runtime.errors import DdartsError, UsageError


@pytest.mark.parametrize("entry", zoo.entries(), ids=lambda entry: entry.name)
def test_entries_tell_the_truth(entry):
    genotype = zoo.resolve(entry.name, buildable=False)
    assert (entry.space, entry.cells, entry.steps) == (genotype.space, genotype.layers, genotype.steps)
    assert entry.source.startswith("published")
    if entry.problem:
        with pytest.raises(DdartsError) as caught:
            zoo.resolve(entry.name)
        assert entry.problem in str(caught.value)
    else:
        assert zoo.resolve(entry.name) == genotype


def test_what_is_there():
    names = [entry.name for entry in zoo.entries()]
    assert len(names) == len(set(names)) == 20 + len(zoo.aliases())
    assert sum(name.startswith("baseline_") for name in names) == 4
    assert [entry.name for entry in zoo.entries() if entry.problem] == ["Xception_cifar100_threshold_edge_0.85"]


@pytest.mark.parametrize(
    ("name", "genotype", "layers", "channels", "dataset"),
    [
        ("DD-4", "D-DARTS_threshold_edge_abl0.5_fair7_cifar100_0.85_50", 14, 36, "cifar10"),
        ("DD-cifar10", "D-DARTS_threshold_sparse_cifar10_0.85_50", 8, 36, "cifar10"),
        ("DO-ResNet18", "ResNet18_cifar10_threshold_sparse_0.85", 4, 64, "cifar10"),
        ("DO-ResNet50", "ResNet50_cifar10_threshold_sparse_0.85", 4, 64, "cifar10"),
        ("DO-ResNet18-imagenet", "ResNet18_cifar100_threshold_sparse_0.85", 4, 64, "imagenet"),
        ("DO-ResNet50-imagenet", "ResNet50_cifar100_threshold_sparse_0.85", 4, 64, "imagenet"),
    ],
)
def test_aliases(name, genotype, layers, channels, dataset):
    alias, resolved = zoo.alias(name), zoo.resolve(name)
    assert (alias.genotype, alias.init_channels, alias.dataset) == (genotype, channels, dataset)
    assert (resolved.cells, resolved.layers, resolved.name) == (zoo.resolve(genotype).cells, layers, name)
    assert zoo.alias(genotype) is None


def test_patterns():
    assert [entry.name for entry in zoo.entries("BASELINE_res")] == ["baseline_ResNet18", "baseline_ResNet50"]
    assert [entry.name for entry in zoo.entries("dd-?")] == ["DD-4"]
    assert zoo.entries("nothing like it") == []


def test_paths_and_run_folders(tmp_path):
    genotype = zoo.resolve("DD-4")
    path = files.write(genotype, tmp_path / "run" / "genotype.json")
    assert zoo.resolve(path) == zoo.resolve(str(path.parent)) == genotype
    text = tmp_path / "mine.TXT"
    text.write_text("Genotype_nested(genes=[[('skip_connect', 2, 0)]], concat=range(2, 3), reductions=[])")
    assert zoo.resolve(str(text)).name == "mine"


def test_a_name_of_the_zoo_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write(zoo.resolve("DD-4"), tmp_path / "DD-cifar10" / "genotype.json")
    assert zoo.resolve("DD-cifar10").layers == 8


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("DD-cifar1", "did you mean DD-cifar10 "),
        ("dd-4", "did you mean DD-4?"),
        ("baseline_Resnet18", "baseline_ResNet18"),
        ("D-DARTS_threshold_sparse_cifar10", "D-DARTS_threshold_sparse_cifar10_0.85_50"),
        ("zzz", "unknown architecture 'zzz': 'ddarts archs' lists all"),
        ("a\nb", "unknown architecture 'a\\nb'"),
        ("", "unknown architecture ''"),
        ("absent.json", "absent.json: no such genotype file"),
        ("../zoo/DD-4", "no such genotype file"),
    ],
)
def test_unknown_names(name, part):
    with pytest.raises(UsageError) as caught:
        zoo.resolve(name)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_path_that_is_no_genotype_is_instead(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "weights.pth").write_bytes(b"x")
    for name in ("weights.pth", str(tmp_path / "weights.pth")):
        with pytest.raises(UsageError, match=r"weights\.pth: not a genotype: .* \.json or \.txt"):
            zoo.resolve(name)
    for name in ("run", f"{tmp_path}/run"):
        with pytest.raises(UsageError, match=r"run: this folder has no genotype\.json"):
            zoo.resolve(name)
    for name in ("x" * 5000, "x" * 5000 + ".json"):
        with pytest.raises(UsageError):
            zoo.resolve(name)


def test_baselines_with_and_without_prefix():
    assert zoo.baseline("ResNet50") == zoo.baseline("baseline_ResNet50") == zoo.resolve("baseline_ResNet50")
    with pytest.raises(UsageError, match=r"--arch_baseline 'ResNet19': use one of InceptionV4, ResNet18, ResNet50"):
        zoo.baseline("ResNet19")
    with pytest.raises(UsageError, match="arch_baseline"):
        zoo.baseline("DD-4")


def test_a_file_dropped_in_is_available(tmp_path, monkeypatch):
    files.write(zoo.resolve("DD-4"), tmp_path / "zoo" / "baseline_Mine.json")
    (tmp_path / "zoo" / "broken.json").write_text("{")
    for name in ("zoo_aliases.json", "zoo_sources.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr(zoo.resources, "files", lambda package: tmp_path)
    assert zoo.baseline("Mine").layers == 14
    broken, mine = zoo._file_entry("broken"), zoo._file_entry("baseline_Mine")
    assert (mine.cells, mine.problem, mine.source) == (14, None, "added to the zoo folder")
    assert "is not valid JSON" in broken.problem
