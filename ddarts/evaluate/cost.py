"""The command `ddarts cost`: what a derived network costs, without building it for real."""

import logging
from typing import Any

from ddarts.config import CostConfig, validate
from ddarts.data.specs import spec
from ddarts.genotype.liveness import dead_cells_remark
from ddarts.network.counting import NetworkCost, network_cost
from ddarts.network.registry import architecture, channels
from ddarts.network.wiring import wired
from ddarts.runtime.errors import UsageError
from ddarts.space.stems import stem_for

_log = logging.getLogger(__name__)
_INTERNAL = ("activations", "activations_fused")


def cost(config: CostConfig) -> dict[str, Any]:
    """Count the network that `config` describes, for one image of the data set's own size.

    Returns params, params_auxiliary, macs, macs_auxiliary, macs_thop, params_without_gradient and input, as
    `NetworkCost` explains them. UsageError names the option that does not fit; DdartsError a genotype that cannot be
    built.
    """
    config = validate(config)
    facts = spec(config.dataset or "digits")
    num_classes = config.num_classes or facts.num_classes
    if num_classes is None:
        raise UsageError(f"--dataset {facts.name}: needs --num_classes")
    genotype = architecture(config.arch or "", config.layers, config.derivation)
    remark = dead_cells_remark(wired(genotype, config.baseline_wiring))
    if remark:
        _log.warning(remark)
    counted = network_cost(
        genotype,
        num_classes,
        channels(config.arch or "", config.init_channels),
        stem=stem_for(facts.name, config.imagenet_stem),
        wiring=config.baseline_wiring,
        image_size=config.image_size or facts.image_size,
    )
    return as_dict(counted)


def as_dict(counted: NetworkCost) -> dict[str, Any]:
    """The counts by name, ready for JSON."""
    shown = {name: value for name, value in vars(counted).items() if name not in _INTERNAL}
    return {**shown, "input": list(counted.input)}
