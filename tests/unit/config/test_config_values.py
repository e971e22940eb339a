"""What every option allows, and how a refusal reads."""

import dataclasses

import pytest

from ddarts import config
from ddarts.config import SearchConfig, TrainConfig, common, resolve, validate
from ddarts.config.options import specs
from ddarts.config.values import shown
from ddarts.runtime.errors import UsageError

CLASSES = [getattr(config, name) for name in config.__all__ if name.endswith("Config")]

REFUSED = [
    # class, option, value, what the message says is allowed
    (SearchConfig, "batch_size", "0", "at least 1"),
    (SearchConfig, "batch_size", "many", "whole number"),
    (SearchConfig, "batch_size", "7.5", "whole number"),
    (SearchConfig, "batch_size", 7.5, "whole number"),
    (SearchConfig, "batch_size", "1_000", "whole number"),
    (SearchConfig, "batch_size", True, "whole number"),
    (SearchConfig, "batch_size", None, "whole number"),
    (SearchConfig, "epochs", "-3", "at least 1"),
    (SearchConfig, "init_channels", "15", "even"),
    (SearchConfig, "layers", "2", "at least 3"),
    (SearchConfig, "steps", "0", "at least 1"),
    (SearchConfig, "multiplier", "5", "--steps"),
    (SearchConfig, "op_threshold", "0", "above 0 and below 1"),
    (SearchConfig, "op_threshold", "1", "above 0 and below 1"),
    (SearchConfig, "op_threshold", "nan", "above 0 and below 1"),
    (SearchConfig, "train_portion", "1", "above 0 and below 1"),
    (SearchConfig, "learning_rate", "0", "above 0"),
    (SearchConfig, "learning_rate", "inf", "number"),
    (SearchConfig, "learning_rate_min", "0.2", "--learning_rate"),
    (SearchConfig, "arch_learning_rate_min", "0.5", "--arch_learning_rate"),
    (SearchConfig, "grad_clip", "0", "above 0"),
    (SearchConfig, "momentum", "1", "below 1"),
    (SearchConfig, "seed", "-1", "at least 0"),
    (SearchConfig, "seed", str(2**32), "at most 4294967295"),
    (SearchConfig, "max_steps", "0", "at least 1"),
    (SearchConfig, "sep_loss", "l3", "choose l2 or l1"),
    (SearchConfig, "cell_loss", "ablation_los", "ablation_loss or none"),
    (SearchConfig, "recipe", "papers", "paper or official"),
    (SearchConfig, "parse_method", "edge", "threshold_edge"),
    (SearchConfig, "precision", "fp8", "fp32, bf16 or fp16"),
    (SearchConfig, "backend", "cudnn", "reference"),
    (SearchConfig, "device", "gpu", "cuda:N"),
    (SearchConfig, "dataset", "cifar", "cifar10"),
    (SearchConfig, "dataset", "folder", "--data"),
    (SearchConfig, "save", "a/b", "one folder name"),
    (SearchConfig, "save", "..", "one folder name"),
    (SearchConfig, "gpus", "0,x", "separated by commas"),
    (SearchConfig, "init_from", "/no/such/file", "no such file"),
    (SearchConfig, "init_from", "/", "is a folder"),
    (SearchConfig, "batch_size", "٣", "whole number"),
    (SearchConfig, "learning_rate", "٣", "number"),
    (SearchConfig, "init_channels", "1048578", "at most 1048576"),
    (SearchConfig, "dataset", "imagenet", "--data"),
    (SearchConfig, "val_resize", "7", "at least 8"),
    (SearchConfig, "class_list", "/no/such/file", "no such file"),
    (SearchConfig, "skip_bad_files", "/no/such/file", "ddarts data check writes it"),
    (SearchConfig, "workers", "2", "--loader torchvision or dali"),
    (SearchConfig, "workers", "-1", "at least 0"),
    (TrainConfig, "batch_size", "1", "at least 2 images"),
    (TrainConfig, "imagenet_stem", "cifar", "published or darts"),
    (config.EvaluateConfig, "dataset", "imagenet", "--data"),
    (SearchConfig, "amp", "yes", "true or false"),
    (SearchConfig, "engine", "horovod", "choose torch or deepspeed"),
    (SearchConfig, "ds_config", "z.json", "needs --engine deepspeed"),
    (SearchConfig, "loader", "ffcv", "auto, resident, torchvision or dali"),
    (SearchConfig, "supernet", "fast", "auto, reference or fused"),
    (TrainConfig, "drop_path_prob", "1", "below 1"),
    (TrainConfig, "label_smooth", "1", "below 1"),
    (TrainConfig, "ema", "1", "below 1"),
    (TrainConfig, "derivation", "codes", "paper, code or cycle"),
    (config.CostConfig, "num_classes", "0", "at least 1"),
    (config.DeriveConfig, "reductions", "6,2", "ascend"),
    (config.DeriveConfig, "alphas", "/no/such/file", "no such file"),
    (config.EvaluateConfig, "model_path", "/no/such/file", "no such file"),
    (config.ShowConfig, "format", "pdf", "svg"),
]
NEEDED = {
    "arch": "DD-4",
    "alphas": ".",
    "model_path": ".",
    "action": "check",
}  # values that stand in for required options


@pytest.mark.parametrize(("cls", "name", "value", "allowed"), REFUSED)
def test_a_wrong_value_is_refused_on_one_line_that_names_option_value_and_what_is_allowed(cls, name, value, allowed):
    required = {key: text for key, text in NEEDED.items() if key in specs(cls) and specs(cls)[key].option.required}
    with pytest.raises(UsageError) as caught:
        resolve(cls, {**required, name: value})
    message = str(caught.value)
    assert f"--{name}" in message and allowed in message and "\n" not in message
    assert shown(value) in message or f"{float(value)}" in message


@pytest.mark.parametrize(("cls", "name", "value", "allowed"), [row for row in REFUSED if row[2] is not None])
def test_the_same_check_guards_a_configuration_made_in_python(cls, name, value, allowed):
    required = {key: text for key, text in NEEDED.items() if key in specs(cls) and specs(cls)[key].option.required}
    if name in ("learning_rate_min", "arch_learning_rate_min", "multiplier"):
        value = float(value) if "rate" in name else int(value)
    with pytest.raises(UsageError, match=f"--{name}"):
        validate(cls(**{**required, name: value}))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_default_is_allowed_and_every_option_has_a_help_text(cls):
    stand_ins = {name: NEEDED.get(name, "DD-4") for name, spec in specs(cls).items() if spec.option.required}
    stand_ins |= {"first": "DD-4", "second": "DD-4"} if cls is config.DistanceConfig else {}
    stand_ins |= {"arch": "DD-4"} if cls is config.ExportConfig else {}  # or --model_path
    assert validate(cls(**stand_ins)) == cls(**stand_ins)
    assert all(spec.option.help for spec in specs(cls).values())


@pytest.mark.parametrize("cls", CLASSES)
def test_configurations_are_frozen(cls):
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().command = "x"


def test_the_search_has_the_published_defaults():
    published = {
        "batch_size": 72, "init_channels": 32, "layers": 8, "steps": 4, "multiplier": 4, "epochs": 50,
        "learning_rate": 0.005, "learning_rate_min": 0.001, "momentum": 0.9, "weight_decay": 3e-4, "grad_clip": 5,
        "aux_loss_weight": 9, "abl_loss_weight": 0.7, "sep_loss": "l2", "cell_loss": "ablation_loss",
        "op_threshold": 0.85, "parse_method": "threshold_sparse", "train_portion": 0.5, "seed": 2,
        "arch_learning_rate": 3e-3, "arch_learning_rate_min": 1e-3, "arch_weight_decay": 1e-3, "pretrain_epochs": 5,
        "report_freq": 50, "cutout": False, "cutout_length": 16, "auto_aug": False, "single_level": False,
        "amp": False, "recipe": "paper",
    }  # fmt: skip
    given = resolve(SearchConfig, {"dataset": "cifar10"})
    assert {name: getattr(given, name) for name in published} == published


def test_the_training_has_the_published_defaults():
    published = {
        "batch_size": 128, "epochs": 600, "learning_rate": 0.025, "momentum": 0.9, "weight_decay": 3e-4,
        "auxiliary": False, "auxiliary_weight": 0.4, "drop_path_prob": 0.2, "grad_clip": 5,
        "cutout_length": 16, "seed": 0, "layers": None, "label_smoothing": 0.0,
    }  # fmt: skip
    given = resolve(TrainConfig, {"dataset": "cifar10", "arch": "DD-4"})
    assert {name: getattr(given, name) for name in published} == published
    assert TrainConfig(dataset="imagenet").label_smoothing == 0.1
    assert TrainConfig(dataset="imagenet", label_smooth=0.0).label_smoothing == 0


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"amp": True, "precision": "fp32"}, "--precision fp32"),
        ({"device": "cpu", "precision": "fp16"}, "--precision fp16"),
        ({"device": "cpu", "backend": "triton"}, "--backend triton"),
        ({"single_level": True, "recipe": "official"}, "--recipe official"),
        ({"steps": "2"}, "--multiplier 4"),
        ({"accumulate": 4, "batch_size": 6}, "--accumulate 4: --batch_size 6 leaves parts of fewer than 2 images"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given, named):
    with pytest.raises(UsageError, match=named):
        resolve(SearchConfig, given)


def test_texts_become_values_of_the_option_s_type():
    given = resolve(SearchConfig, {"learning-rate": "1e-2", "batch_size": "8", "gpus": ["0", "1"], "report_freq": 50.0})
    assert (given.learning_rate, given.batch_size, given.gpus, given.report_freq) == (0.01, 8, (0, 1), 50)
    assert isinstance(given.report_freq, int)
    derive = config.DeriveConfig(alphas=".", reductions="2,6")
    assert validate(derive).reductions == (2, 6)
    assert validate(SearchConfig(learning_rate=1)).learning_rate == 1.0


@pytest.mark.parametrize("cls", CLASSES)
def test_an_empty_text_is_never_taken_for_an_option_that_is_not_given(cls):
    required = {key: NEEDED.get(key, "DD-4") for key, spec in specs(cls).items() if spec.option.required}
    for name, spec in specs(cls).items():
        for value in ("", *([] if spec.kind is bool else ["   "] if spec.kind is not str else [])):
            with pytest.raises(UsageError) as caught:
                resolve(cls, {**required, name: value})
            assert str(caught.value).startswith(f"{spec.flag} ") and spec.allowed() in str(caught.value)


def test_workers_go_with_the_torchvision_loader():
    assert resolve(SearchConfig, {"workers": "2", "loader": "torchvision"}).workers == 2
    assert resolve(config.EvaluateConfig, {"model_path": ".", "workers": "0", "loader": "resident"}).workers == 0
    with pytest.raises(UsageError, match="--workers 2: --loader resident"):
        resolve(TrainConfig, {"arch": "DD-4", "workers": "2", "loader": "resident"})


def test_cost_takes_imagenet_though_nothing_loads_it():
    assert resolve(config.CostConfig, {"arch": "DD-4", "dataset": "imagenet"}).dataset == "imagenet"


def test_a_missing_option_says_what_to_give():
    with pytest.raises(UsageError, match="--arch is missing: give the name"):
        resolve(TrainConfig)


def test_a_wrong_value_is_shown_on_one_short_line():
    assert "\n" not in shown("a\nb") and len(shown("x" * 1000)) <= 80
    nested = ["x"]
    for _ in range(60):
        nested = [nested, nested]  # 2^60 leaves, as YAML's references make them
    assert shown(nested) == "(a list)"


def test_the_names_that_other_packages_own_are_the_same_here():
    from ddarts.data.specs import SPECS
    from ddarts.genotype.deepen import DERIVATIONS
    from ddarts.genotype.parse import METHODS
    from ddarts.space.primitives import SPACES

    assert set(common.DATASETS) == set(SPECS)
    assert set(common.SPACES) == set(SPACES)
    assert set(common.PARSE_METHODS) == set(METHODS)
    assert set(common.DERIVATIONS) == set(DERIVATIONS)
