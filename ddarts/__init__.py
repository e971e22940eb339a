"""D-DARTS: search for networks whose cells are all different, derive, train and evaluate them.

Importing this package is cheap: everything below is loaded when it is first used, so `ddarts --help` needs no torch.

    import ddarts
    config = ddarts.resolve(ddarts.SearchConfig, {"dataset": "digits", "epochs": 3})  # with the data set's presets
    ddarts.search(config)
    model = ddarts.create_model("DD-cifar10", init_channels=36, num_classes=10)
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Packages that are also functions: `ddarts.search(config)` runs `ddarts.search.engine.search(config)`.
_PACKAGES = ("evaluate", "search", "train")

_WHERE = {
    "CostConfig": "ddarts.config",
    "DeriveConfig": "ddarts.config",
    "EvaluateConfig": "ddarts.config",
    "ExportConfig": "ddarts.config",
    "ReportConfig": "ddarts.config",
    "SearchConfig": "ddarts.config",
    "ShowConfig": "ddarts.config",
    "TrainConfig": "ddarts.config",
    "resolve": "ddarts.config",
    "DdartsError": "ddarts.runtime.errors",
    "UsageError": "ddarts.runtime.errors",
    "cost": "ddarts.evaluate.cost",
    "create_model": "ddarts.network.registry",
    "derive": "ddarts.genotype.derive",
    "export": "ddarts.network.export",
    "list_models": "ddarts.network.registry",
    "load_model": "ddarts.network.trained",
    "report": "ddarts.evaluate.report.page",
    "show": "ddarts.evaluate.drawing",
}

__all__ = ["__version__", *_PACKAGES, *_WHERE]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"ddarts.{name}")
    if name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'ddarts' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
