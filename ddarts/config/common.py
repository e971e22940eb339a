"""Options that several commands share."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import exists
from typing import Any

from ddarts.config.ds_config import Steps, merged
from ddarts.config.options import option
from ddarts.runtime.availability import dali_problem

DATASETS = ("digits", "fashion_mnist", "cifar10", "cifar100", "imagenet", "folder")
SPACES = ("ddarts", "dartopti")
PARSE_METHODS = ("darts", "threshold_sparse", "threshold_edge", "threshold_complete")
DERIVATIONS = ("paper", "code", "cycle")
WIRINGS = ("increasing", "published", "chain")
CLASS_FOLDERS = ("imagenet", "folder")  # class folders of photographs, where --imagenet_stem has a say
IN_DATA = "auto"  # --skip_bad_files without a value
_PHOTOGRAPHS = "imagenet, and folder from --image_size 64 on"
MAX_SEED = 2**32 - 1  # the largest that every library takes
MAX_CHANNELS = 2**20  # far beyond any network, and far from numbers that overflow
MAX_WORKERS = 256
MAX_CLASSES = 10**6

ARCH = "give the name of an architecture (ddarts archs lists them) or the path of a genotype"
ARCH_HELP = (
    "name of an architecture (see ddarts archs), path of a genotype (.json, or published .txt), "
    "or a search's run folder"
)
DERIVATION_HELP = "how more layers than genes are filled; code and cycle differ in reductions and gene order"
WIRING_HELP = (
    "increasing: cells as written; published: without the edges that the published code drops; "
    "chain: a cell that reads only the output before the previous one reads the previous one instead"
)
ALIAS_CHANNELS = " (left out: those of the article's network where --arch names one, else 64)"
STEM_HELP = (
    "for imagenet and folder: published (total stride 4) or darts (total stride 8) "
    "(left out: published on imagenet, the CIFAR stem elsewhere)"
)


def parse_method(default: str | None, extra: str = "") -> Any:
    """The option --parse_method."""
    return option(default, f"how α become a genotype{extra}", choices=PARSE_METHODS)


def op_threshold(default: float | None, extra: str = "") -> Any:
    """The option --op_threshold."""
    help_text = f"σ(α) from which an operation is kept{extra}"
    return option(default, help_text, exclusive_minimum=0, exclusive_maximum=1)


def init_channels(default: int | None, extra: str = "") -> Any:
    """The option --init_channels. Even, because strided connections are made of two halves."""
    return option(default, f"channels of the first cell{extra}", minimum=2, maximum=MAX_CHANNELS, even=True)


def imagenet_stem() -> Any:
    """The option --imagenet_stem. None where it is not given: only then a folder of images gets the CIFAR stem."""
    return option(None, STEM_HELP, choices=("published", "darts"))


def stem_remarks(config: Any, given: set[str]) -> Iterator[str]:
    """What to say where --imagenet_stem is given for a data set whose networks have the CIFAR stem."""
    if "imagenet_stem" in given and config.imagenet_stem and config.dataset not in CLASS_FOLDERS:
        yield f"--imagenet_stem has no effect: networks for {config.dataset} have the CIFAR stem"


def cutout_remarks(config: Any, given: set[str]) -> Iterator[str]:
    """What to say where the size of a square is given, but no square is cut."""
    if "cutout_length" in given and not config.cutout:
        yield "--cutout_length has no effect: it belongs to --cutout"


def default_dataset(data: str | None) -> str:
    """The data set where none is named: `digits`, or, as published, `cifar10` where a folder of data is given."""
    return "cifar10" if data else "digits"


@dataclass(frozen=True)
class DatasetOption:
    """Which data set. Left out: digits, or cifar10 where --data is given."""

    dataset: str | None = option(
        None, "images to work on (left out: digits; with --data alone: cifar10)", choices=DATASETS
    )

    def __post_init__(self) -> None:
        if self.dataset is None:
            object.__setattr__(self, "dataset", default_dataset(getattr(self, "data", None)))


@dataclass(frozen=True)
class DataOptions(DatasetOption):
    """Which images, and where they lie."""

    data: str | None = option(None, "folder of the data set (left out: where it usually lies)")
    download: bool = option(False, "fetch the data set if it is not there; nothing is downloaded otherwise")
    image_size: int | None = option(
        None, "side of the images in pixels (left out: the data set's own)", minimum=8, maximum=4096
    )
    val_resize: int | None = option(
        None,
        f"{_PHOTOGRAPHS}: what the shorter side is resized to before the middle is measured "
        "(left out: 8/7 of --image_size, so 256 for 224)",
        minimum=8,
        maximum=8192,
    )
    class_list: str | None = option(
        None,
        "imagenet and folder: file with the class folders' names, one a line, in the order of the labels "
        "(left out: classes.txt in --data)",
    )
    skip_bad_files: str | None = option(
        None,
        "imagenet and folder: leave out the files that ddarts data check found bad; without a value: those in "
        "bad_files.json in --data",
        bare=IN_DATA,
    )

    def data_conflicts(self) -> Iterator[str]:
        """What is wrong with these options taken together."""
        if self.dataset in CLASS_FOLDERS and not self.data:
            yield f"--dataset {self.dataset}: needs --data FOLDER, the folder that holds the images"
        if self.val_resize and self.image_size and self.val_resize < self.image_size:
            yield f"--val_resize {self.val_resize}: must be at least --image_size, which is {self.image_size}"
        if self.class_list and not exists(self.class_list):
            yield f"--class_list {self.class_list}: no such file"
        if self.skip_bad_files not in (None, IN_DATA) and not exists(str(self.skip_bad_files)):
            yield f"--skip_bad_files {self.skip_bad_files}: no such file; ddarts data check writes it"

    def data_remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about these options where they were given on purpose but change nothing."""
        for name in ("data", "download"):
            if self.dataset == "digits" and name in given and getattr(self, name):
                yield f"--{name} has no effect: the digits come with scikit-learn"
        for name in ("val_resize", "class_list", "skip_bad_files"):
            if name in given and getattr(self, name) and self.dataset not in CLASS_FOLDERS:
                yield f"--{name} has no effect: it belongs to imagenet and folder"


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how the numbers are computed."""

    device: str = option("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    backend: str = option(
        "auto",
        "implementation of the operators; auto takes the fastest there is",
        choices=("auto", "reference", "cpp", "cuda", "triton"),
    )
    amp: bool = option(False, "mixed precision: fp16 on CUDA, bf16 on the CPU")
    precision: str | None = option(
        None,
        "number format of the forward passes (left out: fp32, or what --amp says)",
        choices=("fp32", "bf16", "fp16"),
    )
    loader: str = option(
        "auto",
        "who prepares the batches: resident keeps all images decoded in memory, dali and torchvision read files; "
        "auto takes the fastest one for the data set",
        choices=("auto", "resident", "torchvision", "dali"),
    )
    workers: int = option(
        0,
        "processes of the torchvision loader (0: none beside the program's own), threads of the DALI loader (0: one "
        "for each core, at most 16)",
        minimum=0,
        maximum=MAX_WORKERS,
    )

    def compute_conflicts(self) -> Iterator[str]:
        """What is wrong with these options taken together, as far as it can be told without looking for devices."""
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", self.device):
            yield f"--device {self.device}: choose auto, cpu, cuda or cuda:N"
        if self.amp and self.precision == "fp32":
            yield "--precision fp32: contradicts --amp; leave one of them out"
        if self.device == "cpu" and self.precision == "fp16":
            yield "--precision fp16: not for --device cpu; choose bf16 or fp32"
        if self.device == "cpu" and self.backend in ("cuda", "triton"):
            yield f"--backend {self.backend}: not for --device cpu; choose auto, cpp or reference"
        if self.workers and self._takes_resident():
            yield f"--workers {self.workers}: --loader {self.loader} starts none here; use --loader torchvision or dali"
        problem = dali_problem() if self.loader == "dali" else None
        if problem:
            yield f"--loader dali: {problem}"

    def _takes_resident(self) -> bool:
        return self.loader == "resident" or (
            self.loader == "auto" and getattr(self, "dataset", None) not in CLASS_FOLDERS
        )


@dataclass(frozen=True)
class RunOptions:
    """A run's folder, length, engine and ranks. The command has --batch_size and --grad_clip."""

    out: str = option("logs", "folder that holds all runs")
    save: str = option("EXP", "name of the run's folder (left out on the command line: data set and time)")
    resume: str | None = option(
        None,
        "run folder or checkpoint to continue from; without a value: the run that --out and --save name",
        bare="auto",
    )
    max_steps: int | None = option(None, "stop after this many steps in all (left out: no limit)", minimum=1)
    checkpoint_every: int = option(0, "steps between checkpoints, besides one after every epoch (0: none)", minimum=0)
    profile: bool = option(False, "trace a few steps and list the operations that take longest")
    engine: str = option("torch", "who steps the weights", choices=("torch", "deepspeed"))
    ds_config: str | None = option(
        None, "DeepSpeed's settings (JSON), for what ddarts has no option for (left out: ZeRO stage 0)"
    )
    accumulate: int = option(
        1, "work every batch off in so many parts, whose gradients are added", minimum=1, maximum=4096
    )
    rank_timeout: float = option(
        600.0, "of several ranks: seconds after which one that waits for another gives up", minimum=1, maximum=86_400
    )
    check_ranks_every: int = option(
        100, "of several ranks: steps between two checks that they hold the same (0: none)", minimum=0
    )

    def run_conflicts(self) -> Iterator[str]:
        """What is wrong with these options taken together."""
        if self.ds_config and self.engine != "deepspeed":
            yield f"--ds_config {self.ds_config}: needs --engine deepspeed"
        elif self.engine == "deepspeed":
            merged(self.ds_config, deepspeed_steps(self))
        if self.save in (".", "..") or "/" in self.save or "\\" in self.save:
            yield f"--save {self.save}: must be one folder name (the folder above it is --out)"
        batch_size = self.batch_size  # type: ignore[attr-defined]
        if 1 < self.accumulate and 2 * self.accumulate > batch_size:
            yield f"--accumulate {self.accumulate}: --batch_size {batch_size} leaves parts of fewer than 2 images"


def deepspeed_steps(config: Any, ranks: int | None = None) -> Steps:
    """What DeepSpeed is told of a step of `config`."""
    return Steps(config.batch_size, config.accumulate, config.grad_clip, ranks)
