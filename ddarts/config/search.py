"""Options of `ddarts search`. Names and defaults are the published ones (article, section 4, and its code)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import isdir, isfile
from typing import ClassVar

from ddarts.config import common
from ddarts.config.options import option

MIN_LAYERS = 3  # reductions stand at ⌊L/3⌋ and ⌊2L/3⌋: from 3 cells on these are two cells, neither the first
MAX_STEPS = 64  # nodes of a cell that a genotype may have

_LOSS_WEIGHTS = {"minimum": 0}
_RATE = {"exclusive_minimum": 0}
LAYERS, STEPS = 8, 4  # of a search that starts from no baseline


@dataclass(frozen=True)
class SearchConfig(common.RunOptions, common.ComputeOptions, common.DataOptions):
    """Find the operations of every cell: α and weights, step by step, on two halves of the training images."""

    command: ClassVar[str] = "search"

    epochs: int = option(50, "passes over the training half", minimum=1)
    batch_size: int = option(72, "images of a step, from each half", minimum=1)
    seed: int = option(
        2, "seed of weights, halves, order, augmentation and ablations", minimum=0, maximum=common.MAX_SEED
    )
    seeds: tuple[int, ...] | None = option(
        None,
        "search with each of these seeds, on one device in turn, on several at once, and compare what they find",
        minimum=0,
        maximum=common.MAX_SEED,
    )
    train_portion: float = option(
        0.5, "share of the images that train the weights; the rest moves α", exclusive_minimum=0, exclusive_maximum=1
    )

    init_channels: int = common.init_channels(32)
    layers: int | None = option(
        None, f"cells of the search network (left out: {LAYERS}, or the baseline's)", minimum=MIN_LAYERS, maximum=1000
    )
    steps: int | None = option(
        None, f"nodes of a cell (left out: {STEPS}, or the baseline's)", minimum=1, maximum=MAX_STEPS
    )
    multiplier: int = option(4, "how many of a cell's last nodes make its output", minimum=1, maximum=MAX_STEPS)
    imagenet_stem: str | None = common.imagenet_stem()
    supernet: str = option(
        "auto",
        "implementation of the search network; auto takes the fused one where it is faster",
        choices=("auto", "reference", "fused"),
    )
    activation_storage: str = option(
        "float32",
        "how the fused search network stores the outputs of its stages; half (float16) takes a third less memory",
        choices=("float32", "half"),
    )
    cuda_graphs: str = option(
        "auto", "on a GPU, launch a whole iteration as one CUDA graph where that is possible", choices=("auto", "off")
    )
    arch_baseline: str | None = option(
        None, "architecture to start from (ResNet18, ResNet50, Xception, InceptionV4 or one in --baselines)"
    )
    baselines: str | None = option(None, "folder with baselines of your own: genotype files, named by their names")
    baseline_wiring: str = option(
        "published",
        "published: the baseline as its file has it; chain: a cell that reads only the output before the previous one "
        "reads the previous one instead",
        choices=("published", "chain"),
    )
    pretrain_epochs: int = option(5, "epochs on weights alone before a search from a baseline", minimum=0)
    no_arch_metric: bool = option(False, "do not log (and stop by) the distance to the baseline")
    init_from: str | None = option(None, "file of search weights under the published names to start from")

    learning_rate: float = option(0.005, "learning rate of the weights (SGD, cosine)", **_RATE)
    learning_rate_min: float = option(0.001, "where the weights' learning rate ends", minimum=0)
    momentum: float = option(0.9, "momentum of the weights", minimum=0, exclusive_maximum=1)
    weight_decay: float = option(3e-4, "weight decay of the weights", minimum=0)
    grad_clip: float = option(5.0, "largest norm of the weights' gradient", **_RATE)
    arch_learning_rate: float = option(3e-3, "learning rate of α (Adam, cosine)", **_RATE)
    arch_learning_rate_min: float = option(1e-3, "where α's learning rate ends", minimum=0)
    arch_weight_decay: float = option(1e-3, "weight decay of α", minimum=0)

    recipe: str = option(
        "paper", "paper: what the article describes; official: what its code does", choices=("paper", "official")
    )
    aux_loss_weight: float = option(9.0, "weight of the zero-one loss", **_LOSS_WEIGHTS)
    abl_loss_weight: float = option(0.7, "weight of the ablation loss", **_LOSS_WEIGHTS)
    sep_loss: str = option("l2", "form of the zero-one loss", choices=("l2", "l1"))
    cell_loss: str = option("ablation_loss", "none leaves the ablation loss out", choices=("ablation_loss", "none"))
    ablation_every: int = option(
        1, "iterations from one measurement of marginal contributions to the next (1: as published)", minimum=1
    )
    single_level: bool = option(False, "one batch and one backward pass for weights and α together")

    cutout: bool = option(False, "cut a square out of every training image")
    cutout_length: int = option(16, "side of that square in pixels", minimum=1)
    auto_aug: bool = option(False, "AutoAugment the training images")

    parse_method: str = common.parse_method("threshold_sparse")
    op_threshold: float = common.op_threshold(0.85)
    report_freq: int = option(50, "steps between two lines of the log", minimum=1)

    model_path: str | None = option(
        None, "published, without effect", inactive="the published search does not use it either"
    )
    arch_lr_gamma: float | None = option(
        None, "published, without effect", inactive="α follow a cosine schedule in the published search too"
    )
    gpus: tuple[int, ...] | None = option(
        None, "published, without effect", inactive="the search takes --device", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arch_baseline is None:
            object.__setattr__(self, "layers", self.layers or LAYERS)
            object.__setattr__(self, "steps", self.steps or STEPS)

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        yield from self.data_conflicts()
        yield from self.compute_conflicts()
        yield from self.run_conflicts()
        for name in ("learning_rate", "arch_learning_rate"):
            lowest, highest = getattr(self, f"{name}_min"), getattr(self, name)
            if lowest > highest:
                yield f"--{name}_min {lowest}: must be at most --{name}, which is {highest}"
        yield from self._supernet_conflicts()
        yield from self._backend_conflicts()
        yield from self._seed_conflicts()
        yield from self._baseline_conflicts()
        if self.steps is not None and self.multiplier > self.steps:
            yield f"--multiplier {self.multiplier}: must be at most --steps, which is {self.steps}"
        if self.single_level and self.recipe == "official":
            yield "--recipe official: the published code has no working --single_level; choose paper"
        yield from self._ablation_conflicts()
        if self.init_from and isdir(self.init_from):
            yield f"--init_from {self.init_from}: is a folder; give the file with the search weights"
        elif self.init_from and not isfile(self.init_from):
            yield f"--init_from {self.init_from}: no such file"

    def _supernet_conflicts(self) -> Iterator[str]:
        half_precision = self.amp or self.precision in ("bf16", "fp16")
        if self.supernet == "fused" and half_precision:
            yield "--supernet fused: computes in fp32 only; leave it out, or --amp and --precision"
        if self.activation_storage == "float32":
            return
        given = f"--activation_storage {self.activation_storage}: is of the fused search network"
        if self.supernet == "reference":
            yield f"{given}; leave it out, or --supernet reference"
        elif self.supernet == "auto" and half_precision:
            yield f"{given}, which computes in fp32 only; leave it out, or --amp and --precision"

    def _ablation_conflicts(self) -> Iterator[str]:
        if self.ablation_every == 1:
            return
        given = f"--ablation_every {self.ablation_every}"
        if self.recipe == "official":
            yield f"{given}: the published code ablates in every iteration; leave it out, or choose --recipe paper"
        if self.cell_loss == "none":
            yield f"{given}: --cell_loss none ablates nothing; leave one of them out"

    def _baseline_conflicts(self) -> Iterator[str]:
        if self.baselines and not isdir(self.baselines):
            yield f"--baselines {self.baselines}: no such folder"
        for name in ("layers", "steps"):
            value = getattr(self, name)
            if self.arch_baseline and value is not None:
                yield f"--{name} {value}: --arch_baseline {self.arch_baseline} brings its own; leave one of them out"

    def _seed_conflicts(self) -> Iterator[str]:
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            yield f"--seeds {','.join(map(str, self.seeds))}: names a seed twice"
        if self.seeds and self.resume not in (None, "auto"):
            yield f"--resume {self.resume}: --seeds has several runs; give --resume without a value, and --save"

    def _backend_conflicts(self) -> Iterator[str]:
        told = self.backend != "auto"
        backend = self.backend if told else os.environ.get("DDARTS_BACKEND")
        if self.supernet == "fused" and backend == "cuda":
            named = f"{'--backend' if told else 'DDARTS_BACKEND'} cuda"
            yield f"--supernet fused: {named} lacks operators of it; choose --backend triton, or --supernet reference"

    def remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about options that were given on purpose but change nothing."""
        yield from self.data_remarks(given)
        yield from common.stem_remarks(self, given)
        yield from common.cutout_remarks(self, given)
        for name in ("pretrain_epochs", "baselines", "baseline_wiring"):
            value = getattr(self, name)
            if name in given and value and not self.arch_baseline:
                yield f"--{name} {value} has no effect: it belongs to a search from a baseline (--arch_baseline)"
