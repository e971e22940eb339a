"""Options of `ddarts train`. Names and defaults are the published ones (article, section 5, and its code)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from ddarts.config import common
from ddarts.config.options import option


@dataclass(frozen=True)
class TrainConfig(common.RunOptions, common.ComputeOptions, common.DataOptions):
    """Train a derived network from scratch on all training images.

    As published, best.safetensors are the weights of the epoch that does best on the test images: best_top1 is
    selected on them, last_top1 (the weights at the end) is not.
    """

    command: ClassVar[str] = "train"

    arch: str | None = option(None, common.ARCH_HELP, required=common.ARCH)
    layers: int | None = option(None, "number of cells (left out: the genotype's own)", minimum=1, maximum=1000)
    derivation: str = option("paper", common.DERIVATION_HELP, choices=common.DERIVATIONS)
    baseline_wiring: str = option("increasing", common.WIRING_HELP, choices=common.WIRINGS)
    imagenet_stem: str | None = common.imagenet_stem()
    init_channels: int | None = common.init_channels(None, common.ALIAS_CHANNELS)
    auxiliary: bool = option(False, "train a second classifier after the last reduction cell")
    auxiliary_weight: float = option(0.4, "weight of its loss", minimum=0)

    epochs: int = option(600, "passes over the training images", minimum=1, aliases=("epoch",))
    batch_size: int = option(128, "images of a step", minimum=1)
    seed: int = option(0, "seed of weights, order, augmentation and drop-path", minimum=0, maximum=common.MAX_SEED)

    learning_rate: float = option(0.025, "learning rate (SGD, cosine to 0)", exclusive_minimum=0)
    momentum: float = option(0.9, "momentum", minimum=0, exclusive_maximum=1)
    weight_decay: float = option(3e-4, "weight decay", minimum=0)
    grad_clip: float = option(5.0, "largest norm of the gradient", exclusive_minimum=0)
    drop_path_prob: float = option(
        0.2,
        "probability of dropping a node's sum, reached by a straight line over the epochs",
        minimum=0,
        exclusive_maximum=1,
    )
    label_smooth: float | None = option(
        None, "label smoothing (left out: 0.1 on imagenet, else 0)", minimum=0, exclusive_maximum=1
    )

    cutout: bool = option(False, "cut a square out of every training image")
    cutout_length: int = option(16, "side of that square in pixels", minimum=1)
    auto_aug: bool = option(False, "AutoAugment the training images")

    compile: bool = option(False, "torch.compile the network")
    cuda_graphs: bool = option(False, "launch forward and backward as one CUDA graph each (batches of a fixed size)")
    channels_last: bool = option(True, "images as N, H, W, C in memory, where the device computes them right")
    ema: float | None = option(
        None, "decay of a moving average of the weights, measured beside them", exclusive_minimum=0, exclusive_maximum=1
    )
    report_freq: int = option(50, "steps between two lines of the log", minimum=1)
    parse_method: str | None = option(
        None,
        "published, without effect",
        choices=common.PARSE_METHODS,
        inactive="a genotype already says which operation stands where",
    )

    @property
    def label_smoothing(self) -> float:
        """The label smoothing in force: as given, else 0.1 on ImageNet and 0 elsewhere."""
        if self.label_smooth is not None:
            return self.label_smooth
        return 0.1 if self.dataset == "imagenet" else 0.0

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        yield from self.data_conflicts()
        yield from self.compute_conflicts()
        yield from self.run_conflicts()
        yield from self.graph_conflicts()
        if self.batch_size == 1:
            yield "--batch_size 1: normalising over the batch needs at least 2 images"

    def graph_conflicts(self) -> Iterator[str]:
        """What CUDA graphs do not go together with."""
        if not self.cuda_graphs:
            return
        if self.device == "cpu":
            yield "--cuda_graphs: not for --device cpu"
        if self.compile:
            yield "--cuda_graphs: contradicts --compile; choose one"
        if self.engine != "torch":
            yield f"--cuda_graphs: not with --engine {self.engine}; choose torch"

    def remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about options that were given on purpose but change nothing."""
        yield from self.data_remarks(given)
        yield from common.stem_remarks(self, given)
        yield from common.cutout_remarks(self, given)
        if "auxiliary_weight" in given and not self.auxiliary:
            yield "--auxiliary_weight has no effect: it belongs to --auxiliary"
