"""What a data set changes about the published defaults: small images need fewer channels and faster steps."""

from collections.abc import Callable, Mapping
from typing import Any

Preset = Callable[[], dict[str, Any]]


def search_digits() -> dict[str, Any]:
    """A search that ends in minutes on two cores, with α moving far enough to pass the threshold."""
    return {
        "epochs": 4,
        "batch_size": 32,
        "init_channels": 4,
        "layers": 5,
        "learning_rate": 0.05,
        "learning_rate_min": 0.005,
        "arch_learning_rate": 0.2,
        "arch_learning_rate_min": 0.05,
        "report_freq": 10,
    }


def search_digits_baseline() -> dict[str, Any]:
    """A search from a baseline: long enough for α to add and to drop operations, and for the distance to settle. The
    digits are 8x8, and at twice that instead of four times an iteration takes less than half as long."""
    small = {"image_size": 16, "batch_size": 64, "init_channels": 2}
    return _from_baseline({**search_digits(), **small, "epochs": 15, "pretrain_epochs": 1})


def search_fashion_mnist() -> dict[str, Any]:
    """A few passes over 60,000 images are many steps: fewer epochs, small channels."""
    return {
        "epochs": 3,
        "batch_size": 96,
        "init_channels": 4,
        "layers": 5,
        "learning_rate": 0.025,
        "learning_rate_min": 0.001,
        "arch_learning_rate": 0.02,
        "arch_learning_rate_min": 0.005,
    }


def search_fashion_mnist_baseline() -> dict[str, Any]:
    """Few passes, of many steps each."""
    return _from_baseline({**search_fashion_mnist(), "init_channels": 2, "epochs": 10, "pretrain_epochs": 1})


def _from_baseline(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without the number of cells, which is the baseline's."""
    return {name: value for name, value in values.items() if name != "layers"}


def train_digits() -> dict[str, Any]:
    """Enough for 97 % and more on the test images."""
    return {
        "epochs": 20,
        "batch_size": 64,
        "init_channels": 8,
        "learning_rate": 0.05,
        "drop_path_prob": 0.0,
        "report_freq": 10,
    }


def train_fashion_mnist() -> dict[str, Any]:
    """A short training that a CPU can do."""
    return {"epochs": 10, "batch_size": 128, "init_channels": 16, "learning_rate": 0.05, "drop_path_prob": 0.1}


def bench_digits() -> dict[str, Any]:
    """Digits have 8x8 pixels of their own: 16x16 show all that is in them, at a quarter of the work."""
    return {"image_size": 16}


PRESETS: Mapping[tuple[str, str], Preset] = {
    ("search", "digits"): search_digits,
    ("search", "fashion_mnist"): search_fashion_mnist,
    ("train", "digits"): train_digits,
    ("train", "fashion_mnist"): train_fashion_mnist,
    ("bench", "digits"): bench_digits,
}

BASELINE_PRESETS: Mapping[str, Preset] = {  # of searches with --arch_baseline
    "digits": search_digits_baseline,
    "fashion_mnist": search_fashion_mnist_baseline,
}


def preset(command: str, dataset: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The preset of a command for a data set, empty where there is none.

    Where the user gives (`given`) a learning rate but not where it ends, the preset's end is left out with it.
    """
    given = given or {}
    from_baseline = command == "search" and given.get("arch_baseline")
    values = (BASELINE_PRESETS.get(dataset, dict) if from_baseline else PRESETS.get((command, dataset), dict))()
    for name in ("learning_rate", "arch_learning_rate"):
        if name in given:
            values.pop(f"{name}_min", None)
    return values
