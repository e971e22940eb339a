"""Every option of every command: frozen dataclasses, their checks, presets, and YAML files. Imports no torch.

A value comes from the last of these that gives it: the class's default (the published one), the data set's preset,
a YAML file, the command line.
"""

from ddarts.config.bench import BenchConfig
from ddarts.config.data import DataConfig
from ddarts.config.export import ExportConfig
from ddarts.config.files import read_options, to_yaml
from ddarts.config.resolve import from_yaml, resolve
from ddarts.config.search import SearchConfig
from ddarts.config.small import (
    ArchsConfig,
    CostConfig,
    DeriveConfig,
    DistanceConfig,
    EvaluateConfig,
    InfoConfig,
    ReportConfig,
    ShowConfig,
)
from ddarts.config.train import TrainConfig
from ddarts.config.validate import validate

__all__ = [
    "ArchsConfig",
    "BenchConfig",
    "CostConfig",
    "DataConfig",
    "DeriveConfig",
    "DistanceConfig",
    "EvaluateConfig",
    "ExportConfig",
    "InfoConfig",
    "ReportConfig",
    "SearchConfig",
    "ShowConfig",
    "TrainConfig",
    "from_yaml",
    "read_options",
    "resolve",
    "to_yaml",
    "validate",
]
