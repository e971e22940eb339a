"""A genotype as a network (article, section 3.3): stem, cells, global average pooling, linear classifier."""

from typing import cast

import torch
from torch import Tensor, nn

from ddarts.genotype.schema import Genotype, check
from ddarts.network.auxiliary import AuxiliaryHead
from ddarts.network.cell import DerivedCell
from ddarts.runtime.errors import DdartsError, UsageError
from ddarts.space.stems import make_stem


class DerivedNetwork(nn.Module):
    """The network of `genotype`; positions, widths and reductions are the genotype's own (deepen it beforehand).

    init_channels: C of the cells before the first reduction; each reduction doubles it.
    auxiliary: add the classifier after the last reduction cell.
    stem: `cifar`, `imagenet` or `darts`. wiring: see `ddarts.network.wiring`.
    UsageError for channels, classes or a stem that do not fit; DdartsError for a genotype that cannot be built.
    """

    _keep: Tensor

    def __init__(
        self,
        genotype: Genotype,
        num_classes: int,
        init_channels: int,
        auxiliary: bool = False,
        stem: str = "cifar",
        drop_path_prob: float = 0.0,
        wiring: str = "increasing",
    ) -> None:
        super().__init__()
        _check_arguments(genotype, num_classes, init_channels, auxiliary)
        self.genotype, self.num_classes, self.init_channels = genotype, num_classes, init_channels
        self.stem_name, self.wiring = stem, wiring
        self.stem = make_stem(stem, init_channels)
        self.cells = nn.ModuleList()
        widths = self._add_cells()
        self.auxiliary_after = max(genotype.reductions, default=-1)
        self.auxiliary_head: AuxiliaryHead | None = None
        if auxiliary:
            stride = 3 if stem == "cifar" else 2
            self.auxiliary_head = AuxiliaryHead(widths[self.auxiliary_after], num_classes, stride)
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], num_classes)
        self.register_buffer("_keep", torch.ones(()), persistent=False)
        self.drop_path_prob = drop_path_prob

    def _add_cells(self) -> list[int]:
        """Append the cells; returns the width of each one's output."""
        inputs, halve_first, channels = self.stem.channels_out, self.stem.halve_first, self.init_channels
        widths = []
        for index in range(self.genotype.layers):
            reduction = index in self.genotype.reductions
            channels *= 2 if reduction else 1
            genes = self.genotype.position(index)
            try:
                cell = DerivedCell(
                    genes, inputs, channels, reduction=reduction, halve_first=halve_first, wiring=self.wiring
                )
            except UsageError:
                raise
            except DdartsError as error:
                raise DdartsError(f"genotype '{self.genotype.name}': cell {index}: {error}") from None
            self.cells.append(cell)
            widths.append(cell.channels_out)
            inputs, halve_first = (inputs[1], cell.channels_out), reduction
        return widths

    def fuse(self, fuses: bool = True) -> None:
        """Have the cells run fused in training, where they can (see fused.py); in evaluation nothing changes."""
        for cell in self.cells:
            cast(DerivedCell, cell).fuses = fuses

    @property
    def drop_path_prob(self) -> float:
        """Probability that an image loses a node's sum, in [0, 1); engines raise it from epoch to epoch."""
        return self._drop_path_prob

    @drop_path_prob.setter
    def drop_path_prob(self, value: float) -> None:
        if not 0 <= value < 1:
            raise UsageError(f"--drop_path_prob {value}: allowed is from 0 up to, but not including, 1")
        self._drop_path_prob = float(value)
        self.drops_paths = value > 0  # what a compiled network looks at: it changes once, the probability often
        self._keep.fill_(1 - value)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Images [N, 3, H, W] → logits [N, classes]; in training with the auxiliary head: (logits, its logits)."""
        keep = self._keep if self.training and self.drops_paths else None
        before_last, last = self.stem(x)
        auxiliary = None
        for index, cell in enumerate(self.cells):
            before_last, last = last, cell(before_last, last, keep)
            if self.training and self.auxiliary_head is not None and index == self.auxiliary_after:
                auxiliary = self.auxiliary_head(last)
        logits = self.classifier(self.global_pooling(last).flatten(1))
        return logits if auxiliary is None else (logits, auxiliary)


def _check_arguments(genotype: Genotype, num_classes: int, init_channels: int, auxiliary: bool) -> None:
    check(genotype, f"genotype '{genotype.name}'")
    if init_channels < 1:
        raise UsageError(f"--init_channels {init_channels}: at least 1 is needed")
    if num_classes < 1:
        raise UsageError(f"{num_classes} classes: at least 1 is needed")
    if auxiliary and not genotype.reductions:
        raise UsageError(
            f"--auxiliary: '{genotype.name}' has no reduction cell, and the auxiliary head stands after the last one"
        )
