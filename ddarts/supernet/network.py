"""The search network: stem, cells, global average pooling, linear classifier.

Shapes: N batch, L cell positions, E edges, K operations.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from ddarts.space.primitives import Space
from ddarts.space.stems import make_stem
from ddarts.space.topology import default_reductions
from ddarts.supernet.fused import FusedCell
from ddarts.supernet.reference import SearchCell

STEM_MULTIPLIER = 3
SIDE_BY_SIDE = 8  # ablated networks at a time: what they hold beside the whole network's grows with them
EXECUTIONS = {"reference": SearchCell, "fused": FusedCell}  # the same modules and function, executed otherwise
STORAGES = {"float32": None, "half": torch.float16}  # of a fused cell's stages (FusedCell.stored)
States = tuple[Tensor, Tensor]


class SearchNetwork(nn.Module):
    """Maps images [N, 3, H, W] and mixing weights [L, E, K] to logits [N, classes].

    The mixing weights are an input, not parameters: who updates them is the search's business.
    `stem`: see `space.stems`; after an ImageNet stem the first cell halves its first input, as in a derived network.
    `execution` says how cells are computed (EXECUTIONS); the function, parameters and state dictionaries are the same.
    `activation_storage` (STORAGES): how fused cells store the outputs of their stages.
    Cells at `reductions` (default ⌊L/3⌋ and ⌊2L/3⌋) halve the resolution and double the channels.
    """

    def __init__(
        self,
        space: Space,
        *,
        num_classes: int,
        init_channels: int,
        layers: int,
        steps: int = 4,
        multiplier: int = 4,
        reductions: Sequence[int] | None = None,
        stem: str = "cifar",
        execution: str = "reference",
        activation_storage: str = "float32",
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("execution", execution, EXECUTIONS),
            ("activation_storage", activation_storage, STORAGES),
        ):
            if value not in allowed:
                raise ValueError(f"SearchNetwork: {name} is {value!r}; allowed are {', '.join(allowed)}")
        if execution != "fused" and activation_storage != "float32":
            raise ValueError(f"SearchNetwork: activation_storage is {activation_storage!r}: of fused execution only")
        self.execution, self.activation_storage = execution, activation_storage
        self.reductions = tuple(default_reductions(layers) if reductions is None else reductions)
        self.stem, (before, last), halve_first = _stem(stem, init_channels)
        channels = init_channels
        self.cells = nn.ModuleList()
        for index in range(layers):
            reduction = index in self.reductions
            channels *= 2 if reduction else 1
            after_reduction = index - 1 in self.reductions or (index == 0 and halve_first)
            self.cells.append(
                EXECUTIONS[execution](
                    space,
                    steps,
                    multiplier,
                    (before, last),
                    channels,
                    reduction=reduction,
                    after_reduction=after_reduction,
                )
            )
            before, last = last, multiplier * channels
        for cell in self.cells:
            if isinstance(cell, FusedCell):
                cell.stored = STORAGES[activation_storage]
        self.classifier = nn.Linear(last, num_classes)

    @cached_property
    def norms(self) -> list[nn.BatchNorm2d]:
        """All batch normalisations."""
        return _norms(self)

    def forward(
        self,
        images: Tensor,
        weights: Tensor,
        keep: Sequence | None = None,
        *,
        record: list[States] | None = None,
    ) -> Tensor:
        """Logits [N, classes]; keep [L][E][K] leaves out operations altogether (the discretised network). `record` as
        in `resume`."""
        return self.resume(self.start(images), weights, 0, keep=keep, record=record)

    def start(self, images: Tensor) -> States:
        """The two input states of cell 0."""
        states = self.stem(images)
        return states if isinstance(states, tuple) else (states, states)

    def resume(
        self,
        states: States,
        weights: Tensor,
        first: int,
        *,
        keep: Sequence | None = None,
        record: list[States] | None = None,
    ) -> Tensor:
        """Logits from the input states of cell `first`; `record` collects the input states of every cell run, for
        `ablated` inside `steady_weights`."""
        for index in range(first, len(self.cells)):
            cell = self.cells[index]
            assert isinstance(cell, SearchCell)
            if record is not None:
                record.append(states)
                cell.expect_return()
            cell_keep = None if keep is None else keep[index]
            states = states[1], cell(*states, weights[index], cell_keep)
        return self.classifier(states[1].mean(dim=(2, 3)))

    def ablated(self, seen: Sequence[States], weights: Tensor, first: Sequence[int]) -> Tensor:
        """Logits [G, N, classes] of G networks side by side, without gradients, for mixing weights [G, L, E, K].

        seen: the input states of every cell of the whole network, as `resume` records them. Network g mixes as that
        one does before cell first[g], where it begins; `first` ascends. Call it inside `steady_weights` and
        `frozen_statistics`.
        """
        return torch.cat(
            [
                self._side_by_side(seen, weights[i : i + SIDE_BY_SIDE], first[i : i + SIDE_BY_SIDE])
                for i in range(0, len(first), SIDE_BY_SIDE)
            ]
        )

    def _side_by_side(self, seen: Sequence[States], weights: Tensor, first: Sequence[int]) -> Tensor:
        before: Tensor | None = None
        last: Tensor | None = None
        for index in range(first[0], len(self.cells)):
            cell, running = self.cells[index], sum(place <= index for place in first)
            assert isinstance(cell, SearchCell)
            before, last = last, cell.run_groups(seen[index], (before, last), weights[:running, index])
        assert last is not None
        return self.classifier(last.mean(dim=(2, 3))).unflatten(0, (len(first), -1))


def _stem(name: str, channels: int) -> tuple[nn.Module, tuple[int, int], bool]:
    """The stem, the channels of the two states it gives, and whether the first of them is twice as large."""
    if name == "cifar":  # under the published names
        width = STEM_MULTIPLIER * channels
        plain = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        return plain, (width, width), False
    made = make_stem(name, channels)
    return made, made.channels_out, made.halve_first


def _norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch statistics are used, running statistics stay as they are (architecture step, ablations)."""
    # Straight into the modules' attributes: a thousand assignments through Module cost as much as a small pass.
    found = network.norms if isinstance(network, SearchNetwork) else _norms(network)
    norms = [attributes for norm in found if (attributes := vars(norm))["track_running_stats"]]
    for attributes in norms:
        attributes["track_running_stats"] = False
    try:
        yield
    finally:
        for attributes in norms:
            attributes["track_running_stats"] = True


@contextmanager
def steady_weights(network: SearchNetwork) -> Iterator[None]:
    """Inside, the cells' weights neither change nor are they differentiated: they are prepared only once."""
    cells = [cell for cell in network.cells if isinstance(cell, SearchCell)]
    for cell in cells:
        cell.hold_weights(True)
    try:
        yield
    finally:
        for cell in cells:
            cell.hold_weights(False)


def to_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dictionary under the published names: ours, less the counters that the published code has no use for."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def load_published(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load search weights under the published names; ValueError lists the first names that do not fit."""
    own = network.state_dict()
    wanted = to_published(own)
    missing = sorted(wanted.keys() - state.keys())
    extra = sorted(name for name in state.keys() - own.keys() if not name.endswith("num_batches_tracked"))
    wrong = sorted(name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape)
    for names, what in ((missing, "missing"), (extra, "unexpected"), (wrong, "of another shape")):
        if names:
            raise ValueError(f"{len(names)} weights {what}, first {', '.join(names[:3])}")
    network.load_state_dict({**own, **{name: state[name].to(own[name].dtype) for name in wanted}})
