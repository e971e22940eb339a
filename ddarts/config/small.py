"""Options of the commands that only look at something: evaluate, derive, cost, show, distance, archs, info."""

from collections.abc import Iterator
from dataclasses import dataclass
from os.path import exists
from typing import ClassVar

from ddarts.config import common
from ddarts.config.options import option
from ddarts.config.values import shown

_DISTANCE_FILES = (".png", ".svg", ".csv", ".json")
_LAYERS = {"minimum": 1, "maximum": 1000}
_PUBLISHED_PARSE = {
    "choices": common.PARSE_METHODS,
    "inactive": "a genotype already says which operation stands where",
}


@dataclass(frozen=True)
class EvaluateConfig(common.ComputeOptions, common.DataOptions):
    """Measure a trained network on the test images."""

    command: ClassVar[str] = "evaluate"

    model_path: str | None = option(
        None,
        "weights: .safetensors of ddarts train, its run folder (best.safetensors), or a published .pth.tar",
        required="give the file with the weights, or a run folder of ddarts train",
    )
    arch: str | None = option(None, f"{common.ARCH_HELP} (left out: as the weights' file says)")
    init_channels: int | None = common.init_channels(None, " (left out: as the weights' file says)")
    layers: int | None = option(None, "number of cells (left out: as the weights' file says)", **_LAYERS)
    derivation: str | None = option(
        None, f"{common.DERIVATION_HELP} (left out: as the weights' file says)", choices=common.DERIVATIONS
    )
    baseline_wiring: str | None = option(None, common.WIRING_HELP, choices=common.WIRINGS)
    imagenet_stem: str | None = common.imagenet_stem()
    batch_size: int = option(64, "images of a step", minimum=1)
    report_freq: int = option(50, "steps between two lines of the log", minimum=1)
    parse_method: str | None = option(None, "published, without effect", **_PUBLISHED_PARSE)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        yield from self.data_conflicts()
        yield from self.compute_conflicts()
        if self.model_path and not exists(self.model_path):
            yield f"--model_path {self.model_path}: no such file"

    def remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about options that were given on purpose but change nothing."""
        yield from self.data_remarks(given)
        yield from common.stem_remarks(self, given)


@dataclass(frozen=True)
class DeriveConfig:
    """Read a genotype off α."""

    command: ClassVar[str] = "derive"

    alphas: str | None = option(
        None,
        "file with the array `alphas` (cells x edges x operations, σ(α)), or a run folder of ddarts search",
        required="give a .npz file with the array `alphas`, or a run folder of ddarts search",
    )
    space: str | None = option(
        None, "operations that the last axis stands for (left out: by their number)", choices=common.SPACES
    )
    parse_method: str | None = common.parse_method(None, " (left out: as the search had it, else threshold_sparse)")
    op_threshold: float | None = common.op_threshold(None, " (left out: as the search had it, else 0.85)")
    reductions: tuple[int, ...] | None = option(
        None, "positions of the reduction cells, i,j (left out: a third and two thirds of the way)", minimum=0
    )
    layers: int | None = option(None, "cells of the network to derive (left out: one per cell of α)", **_LAYERS)
    derivation: str = option("paper", common.DERIVATION_HELP, choices=common.DERIVATIONS)
    output: str | None = option(None, "JSON file to write, which must not exist (left out: print the genotype)")

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        if self.alphas and not exists(self.alphas):
            yield f"--alphas {self.alphas}: no such file or folder"
        if self.reductions and list(self.reductions) != sorted(set(self.reductions)):
            yield f"--reductions {','.join(map(str, self.reductions))}: must ascend"
        if self.output and exists(self.output):
            yield f"--output {self.output}: is there already; choose another name"


@dataclass(frozen=True)
class CostConfig(common.DatasetOption):
    """Count parameters and multiply-accumulates of a derived network, for one image."""

    command: ClassVar[str] = "cost"

    arch: str | None = option(None, common.ARCH_HELP, required=common.ARCH)
    layers: int | None = option(None, "number of cells (left out: the genotype's own)", **_LAYERS)
    derivation: str = option("paper", common.DERIVATION_HELP, choices=common.DERIVATIONS)
    baseline_wiring: str = option("increasing", common.WIRING_HELP, choices=common.WIRINGS)
    imagenet_stem: str | None = common.imagenet_stem()
    init_channels: int | None = common.init_channels(None, common.ALIAS_CHANNELS)
    auxiliary: bool = option(
        False,
        "published, without effect",
        inactive="the counts with the auxiliary classifier and without it are always given",
    )
    num_classes: int | None = option(
        None, "classes (left out: the data set's own)", minimum=1, maximum=common.MAX_CLASSES
    )
    image_size: int | None = option(
        None, "side of the image in pixels (left out: the data set's own)", minimum=8, maximum=4096
    )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        if self.dataset == "folder" and self.num_classes is None:
            yield "--dataset folder: needs --num_classes"

    def remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about options that were given on purpose but change nothing."""
        yield from common.stem_remarks(self, given)


@dataclass(frozen=True)
class ShowConfig:
    """Draw the cells of an architecture."""

    command: ClassVar[str] = "show"

    arch: str | None = option(None, common.ARCH_HELP, required=common.ARCH)
    layers: int | None = option(None, "number of cells (left out: the genotype's own)", **_LAYERS)
    derivation: str = option("paper", common.DERIVATION_HELP, choices=common.DERIVATIONS)
    baseline_wiring: str = option("increasing", common.WIRING_HELP, choices=common.WIRINGS)
    cell: int | None = option(None, "draw this cell only, counted from 0 (left out: all)", minimum=0)
    format: str = option("svg", "form of the drawing", choices=("svg", "png", "text", "html"))
    output: str | None = option(None, "file to write, which must not exist (left out: NAME.FORMAT in this folder)")

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        if self.output and exists(self.output):
            yield f"--output {self.output}: is there already; choose another name"


@dataclass(frozen=True)
class DistanceConfig:
    """How far two architectures lie apart, or each of many from every other (article, section 4.4)."""

    command: ClassVar[str] = "distance"

    first: str | None = option(None, common.ARCH_HELP, positional=True)
    second: str | None = option(None, "the other one", positional=True)
    matrix: tuple[str, ...] | None = option(
        None, "instead of two: these architectures, pair by pair; a name with * or ? takes all of the zoo that match"
    )
    strict: bool = option(False, "count cells that only one of them has as distance 1")
    op_weights: str | None = option(
        None, "JSON file with the operations' weights, or results of ddarts bench ops (left out: the published weights)"
    )
    output: str | None = option(
        None, "new file: .png or .svg draws (and leaves the values beside it as .csv), .csv or .json holds the values"
    )

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        if self.matrix and self.first:
            yield f"{shown(self.first)}: give two architectures or --matrix, not both"
        for name in ("first", "second"):
            if not self.matrix and not getattr(self, name):
                yield f"{name.upper()} is missing: {common.ARCH}"
        if self.output and not self.output.lower().endswith(_DISTANCE_FILES):
            yield f"--output {self.output}: its name must end in {', '.join(_DISTANCE_FILES)}"


@dataclass(frozen=True)
class ArchsConfig:
    """List the architectures that have a name."""

    command: ClassVar[str] = "archs"

    pattern: str | None = option(None, "part of the name, or a pattern with * and ?", positional=True)


@dataclass(frozen=True)
class ReportConfig:
    """Write what a run did as one page, report.html in its folder.

    The page opens offline and prints: options, curves, σ(α), contributions of the cells, drawings, costs, warnings.
    """

    command: ClassVar[str] = "report"

    run_dir: str | None = option(
        None, "folder of a run of ddarts search or train", required="give the folder of a run", positional=True
    )


@dataclass(frozen=True)
class InfoConfig:
    """Versions, devices, and which implementation of each operator is there."""

    command: ClassVar[str] = "info"
