"""Where an option's value comes from: default, preset, a continued run, a file, the command line."""

import logging

import pytest

from ddarts.config import (
    BenchConfig,
    CostConfig,
    EvaluateConfig,
    SearchConfig,
    TrainConfig,
    from_yaml,
    read_options,
    resolve,
    to_yaml,
)
from ddarts.config.options import specs
from ddarts.config.presets import BASELINE_PRESETS, PRESETS, preset
from ddarts.runtime.errors import DdartsError, UsageError


@pytest.fixture
def yaml_file(tmp_path):
    def write(text):
        path = tmp_path / "options.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("given", "dataset"),
    [
        ({}, "digits"),
        ({"data": "/x"}, "cifar10"),
        ({"dataset": "fashion_mnist"}, "fashion_mnist"),
        ({"dataset": "digits", "data": "/x"}, "digits"),
    ],
)
def test_the_data_set_where_none_is_named(given, dataset):
    assert resolve(SearchConfig, given).dataset == dataset
    assert SearchConfig(**given).dataset == dataset


def test_a_data_folder_in_a_file_counts_too(yaml_file):
    assert resolve(SearchConfig, {}, yaml_file("data: /x")).dataset == "cifar10"


def test_default_then_preset_then_file_then_command_line(yaml_file):
    in_preset = preset("search", "digits")
    path = yaml_file("epochs: 7\nbatch_size: 11\nmomentum: 0.5\n")
    chosen = resolve(SearchConfig, {"batch-size": "12"}, path)
    assert chosen.weight_decay == 3e-4
    assert chosen.init_channels == in_preset["init_channels"] != SearchConfig().init_channels
    assert (chosen.epochs, chosen.momentum) == (7, 0.5) and in_preset["epochs"] != 7
    assert chosen.batch_size == 12


def test_a_file_may_turn_on_what_the_command_line_turns_off(yaml_file):
    path = yaml_file("amp: true\n")
    assert resolve(SearchConfig, {}, path).amp and not resolve(SearchConfig, {"amp": False}, path).amp


@pytest.mark.parametrize("dataset", BASELINE_PRESETS)
def test_a_search_from_a_baseline_has_presets_of_its_own(dataset):
    values = BASELINE_PRESETS[dataset]()
    chosen = resolve(SearchConfig, {"dataset": dataset, "arch_baseline": "ResNet18"})
    assert {name: getattr(chosen, name) for name in values} == values
    assert resolve(SearchConfig, {"dataset": dataset}).epochs != chosen.epochs
    assert chosen.epochs >= 5 + 5  # five distances, the first after five epochs: else it could never settle


def test_cells_and_nodes_are_published_numbers_or_the_baselines(tmp_path):
    assert (SearchConfig().layers, SearchConfig().steps) == (8, 4)
    chosen = resolve(SearchConfig, {"dataset": "digits", "arch_baseline": "ResNet18"})
    assert (chosen.layers, chosen.steps) == (None, None)
    to_yaml(chosen, tmp_path / "config.yaml")
    assert from_yaml(SearchConfig, tmp_path / "config.yaml") == chosen
    with pytest.raises(UsageError, match="--layers 8: --arch_baseline ResNet18 brings its own"):
        resolve(SearchConfig, {"dataset": "digits", "arch_baseline": "ResNet18", "layers": "8"})


@pytest.mark.parametrize("key", PRESETS)
def test_presets_are_valid(key):
    command, dataset = key
    cls = {"search": SearchConfig, "train": TrainConfig, "bench": BenchConfig}[command]
    given = {"search": {}, "train": {"arch": "DD-4"}, "bench": {"subject": "ops"}}[command]
    chosen = resolve(cls, {"dataset": dataset, **given})
    assert {name: getattr(chosen, name) for name in PRESETS[key]()} == PRESETS[key]()


@pytest.mark.parametrize("dataset", ["digits", "fashion_mnist"])
def test_a_preset_does_not_set_the_end_of_a_learning_rate_that_the_user_chose(dataset):
    chosen = resolve(SearchConfig, {"dataset": dataset, "arch_learning_rate": "0.002", "learning_rate": "0.002"})
    assert (chosen.arch_learning_rate_min, chosen.learning_rate_min) == (1e-3, 1e-3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epocs: 3", "unknown option --epocs: did you mean --epochs?"),
        ("zzz: 3", "unknown option --zzz"),
        ("epochs: 0", "--epochs 0: must be a whole number, at least 1"),
        ("epochs: [1, 2]", "--epochs 1,2"),
        ("epochs: {a: 1}", "--epochs (a dict)"),
        ("amp: 'yes'", "--amp yes: must be true or false"),
        ("amp:", "--amp None"),
        ("- epochs", "option: value"),
        ("epochs", "option: value"),
        ("3: 4", "3 is not the name of an option"),
        ("epochs: 3\nepochs : [", "not a YAML file (line"),
        ("epochs: !!python/object/apply:os.system ['true']", "not a YAML file"),
        ("batch_size: 3\nbatch-size: 4", "--batch_size is given twice"),
        ("[" * 5000, "not a YAML file"),
        ("#" * (1 << 20) + "\n", "larger than"),
    ],
)
def test_a_wrong_file_is_refused_on_one_line_that_names_it(yaml_file, text, says):
    path = yaml_file(text)
    with pytest.raises(UsageError) as caught:
        resolve(SearchConfig, {}, path)
    assert str(path) in str(caught.value) and says in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            resolve(SearchConfig, {}, path)
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\x00\xff\xfe\x80")
    with pytest.raises(UsageError, match="not a YAML file"):
        resolve(SearchConfig, {}, binary)


def test_an_empty_file_sets_nothing_and_yaml_floats_without_a_point_are_numbers(yaml_file):
    assert read_options(SearchConfig, yaml_file("# nothing\n")) == {}
    assert read_options(SearchConfig, yaml_file("weight_decay: 3e-4\nsave: 7\ngpus: [0, 1]\n")) == {
        "weight_decay": 3e-4,
        "save": "7",
        "gpus": (0, 1),
    }


@pytest.mark.parametrize(
    "config",
    [
        SearchConfig(data="/päth with spaces/'x'", gpus=(0, 1), save="null", weight_decay=1e-5),
        TrainConfig(arch="DD-4", amp=True, resume="no"),
    ],
)
def test_what_is_written_is_read_back_the_same(config, tmp_path):
    to_yaml(config, tmp_path / "config.yaml")
    assert from_yaml(type(config), tmp_path / "config.yaml") == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_an_unwritable_file_is_a_fault(tmp_path):
    with pytest.raises(DdartsError, match="not written"):
        to_yaml(SearchConfig(), tmp_path / "no folder" / "config.yaml")


def test_a_run_without_a_name_gets_one_that_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _format: "NOW")
    given = {"out": str(tmp_path)}
    assert resolve(SearchConfig, given).save == "digits-NOW"
    (tmp_path / "search" / "digits-NOW").mkdir(parents=True)
    assert resolve(SearchConfig, given).save == "digits-NOW-2"
    assert resolve(TrainConfig, {**given, "arch": "DD-4"}).save == "digits-NOW"
    assert resolve(SearchConfig, {**given, "save": "mine"}).save == "mine"


def a_run(out, kind, name, config):
    run = out / kind / name
    (run / "checkpoints").mkdir(parents=True)
    to_yaml(config, run / "config.yaml")
    return run


def test_a_continued_run_keeps_its_options(tmp_path):
    run = a_run(tmp_path, "eval", "a", TrainConfig(arch="DD-4", dataset="fashion_mnist", batch_size=5, save="a"))
    chosen = resolve(TrainConfig, {"resume": str(run), "epochs": "9"})
    assert (chosen.arch, chosen.dataset, chosen.batch_size, chosen.epochs) == ("DD-4", "fashion_mnist", 5, 9)
    assert (chosen.resume, chosen.save) == (str(run), "a")
    inside = resolve(TrainConfig, {"resume": str(run / "checkpoints")})
    assert inside.batch_size == 5


def test_a_run_that_changes_its_engine_leaves_the_settings_of_the_old_one(tmp_path):
    settings = tmp_path / "ds.json"
    settings.write_text('{"zero_optimization": {"stage": 1}}')
    config = TrainConfig(arch="DD-4", engine="deepspeed", ds_config=str(settings))
    run = str(a_run(tmp_path, "eval", "a", config))
    assert resolve(TrainConfig, {"resume": run}).ds_config == str(settings)
    assert resolve(TrainConfig, {"resume": run, "engine": "torch"}).ds_config is None


def test_a_bare_resume_means_the_run_that_is_named(tmp_path):
    run = a_run(tmp_path, "search", "b", SearchConfig(epochs=4, save="b", out=str(tmp_path)))
    chosen = resolve(SearchConfig, {"resume": "auto", "save": "b", "out": str(tmp_path)})
    assert (chosen.resume, chosen.epochs) == (str(run), 4)
    with pytest.raises(UsageError, match="--resume: give the run folder"):
        resolve(SearchConfig, {"resume": "auto"})
    with pytest.raises(UsageError, match="no such folder"):
        resolve(SearchConfig, {"resume": "auto", "save": "c", "out": str(tmp_path)})
    with pytest.raises(UsageError, match="--resume '': must be a text that is not empty"):
        resolve(SearchConfig, {"resume": ""})


def messages(caplog, given, path=None, cls=SearchConfig):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "ddarts"):
        resolve(cls, given, path)
    return [record.getMessage() for record in caplog.records]


def test_options_without_effect_say_so_once_and_only_when_given(caplog, yaml_file, tmp_path):
    assert messages(caplog, {}) == []
    given = {"gpus": "0", "model_path": "x", "arch_lr_gamma": "0.9"}
    lines = messages(caplog, given)
    assert len(lines) == 3 and all(any(f"--{name} has no effect" in line for line in lines) for name in given)
    assert len(messages(caplog, {}, yaml_file("gpus: [0]"))) == 1
    assert messages(caplog, {"pretrain_epochs": "0"}) == []
    assert "--pretrain_epochs 3 has no effect" in messages(caplog, {"pretrain_epochs": "3"})[0]
    assert "--baseline_wiring chain has no effect" in messages(caplog, {"baseline_wiring": "chain"})[0]
    assert f"--baselines {tmp_path} has no effect" in messages(caplog, {"baselines": str(tmp_path)})[0]
    given = {
        "arch_baseline": "ResNet18",
        "pretrain_epochs": "3",
        "baseline_wiring": "chain",
        "baselines": str(tmp_path),
    }
    assert messages(caplog, given) == []
    to_yaml(SearchConfig(), tmp_path / "config.yaml")
    assert messages(caplog, {}, tmp_path / "config.yaml") == []


@pytest.mark.parametrize(
    ("cls", "given", "with_effect"),
    [
        (SearchConfig, {"data": "/x"}, {"dataset": "cifar10"}),
        (SearchConfig, {"download": True}, {"dataset": "fashion_mnist"}),
        (SearchConfig, {"cutout_length": "8"}, {"cutout": True}),
        (TrainConfig, {"cutout_length": "8"}, {"cutout": True}),
        (TrainConfig, {"auxiliary_weight": "0.5"}, {"auxiliary": True}),
        (TrainConfig, {"imagenet_stem": "darts"}, {"dataset": "folder", "data": "/x"}),
        (EvaluateConfig, {"imagenet_stem": "published"}, {"dataset": "folder", "data": "/x"}),
        (EvaluateConfig, {"data": "/x"}, {"dataset": "cifar10"}),
        (CostConfig, {"imagenet_stem": "published"}, {"dataset": "imagenet"}),
    ],
)
def test_an_option_without_effect_on_this_data_set_or_without_its_switch_says_so(caplog, cls, given, with_effect):
    required = {"dataset": "digits"}
    required.update({"arch": "DD-4"} if "arch" in specs(cls) else {})
    required.update({"model_path": "."} if "model_path" in specs(cls) and cls is EvaluateConfig else {})
    (name,) = given
    (line,) = messages(caplog, {**required, **given}, cls=cls)
    assert line.startswith(f"--{name} has no effect: ")
    assert messages(caplog, {**required, **given, **with_effect}, cls=cls) == []
    assert messages(caplog, required, cls=cls) == []


def test_cost_says_that_it_always_counts_the_auxiliary_head(caplog):
    (line,) = messages(caplog, {"arch": "DD-4", "auxiliary": True}, cls=CostConfig)
    assert line.startswith("--auxiliary has no effect") and "always given" in line
