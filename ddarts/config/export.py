"""Options of `ddarts export`."""

from collections.abc import Iterator
from dataclasses import dataclass
from os.path import exists, splitext
from typing import ClassVar

from ddarts.config import common
from ddarts.config.options import option

FORMATS = ("onnx", "pt2", "safetensors")


@dataclass(frozen=True)
class ExportConfig(common.DataOptions):
    """Write a network as ONNX, .pt2 or safetensors, and check the file against the network.

    The file takes normalised images in batches of any size. It is read back, and what it computes of random and of
    real images (--dataset) is compared with the network.
    """

    command: ClassVar[str] = "export"

    model_path: str | None = option(
        None,
        "weights: .safetensors of ddarts train, its run folder (best.safetensors), or a published .pth.tar "
        "(left out: untrained weights)",
    )
    arch: str | None = option(None, f"{common.ARCH_HELP} (left out: as the weights' file says)")
    format: str | None = option(None, "form of the file (left out: by --output's ending, else onnx)", choices=FORMATS)
    output: str | None = option(None, "file to write, which must not exist (left out: NAME.FORMAT in this folder)")
    layers: int | None = option(
        None, "number of cells (left out: as the weights' file or the genotype says)", minimum=1, maximum=1000
    )
    derivation: str | None = option(
        None, f"{common.DERIVATION_HELP} (left out: as the weights' file says)", choices=common.DERIVATIONS
    )
    init_channels: int | None = common.init_channels(None, " (left out: as the weights' file says)")
    num_classes: int | None = option(
        None, "classes (left out: as the weights' file says, else 10)", minimum=1, maximum=common.MAX_CLASSES
    )
    baseline_wiring: str | None = option(None, common.WIRING_HELP, choices=common.WIRINGS)
    imagenet_stem: str | None = option(
        None,
        "published (total stride 4) or darts (8) (left out: as the weights' file says, else the CIFAR stem)",
        choices=("published", "darts"),
    )

    @property
    def form(self) -> str:
        """The format in force."""
        ending = splitext(self.output or "")[1].lower().removeprefix(".")
        return self.format or (ending if ending in FORMATS else FORMATS[0])

    def conflicts(self) -> Iterator[str]:
        """What is wrong with the options taken together, one line each."""
        yield from self.data_conflicts()
        if self.arch is None and self.model_path is None:
            yield "--model_path is missing: give the file with the weights, or --arch for an untrained network"
        if self.model_path and not exists(self.model_path):
            yield f"--model_path {self.model_path}: no such file"
        if self.output and splitext(self.output)[1].lower() != f".{self.form}":
            yield f"--output {self.output}: must end in .{self.form}, the format"
        if self.output and exists(self.output):
            yield f"--output {self.output}: is there already; choose another name"

    def remarks(self, given: set[str]) -> Iterator[str]:
        """What to say about options that were given on purpose but change nothing."""
        yield from self.data_remarks(given)
