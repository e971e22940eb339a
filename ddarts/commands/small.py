"""The commands that are a line or two over the library."""

import dataclasses
from typing import Any

from ddarts.config import ArchsConfig, DeriveConfig


def derive(options: DeriveConfig) -> dict[str, Any]:
    """The genotype, as its file has it. The library writes it where --output is given."""
    from ddarts.genotype import files
    from ddarts.genotype.derive import derive as derive_genotype

    return files.to_dict(derive_genotype(options))


def archs(options: ArchsConfig) -> dict[str, Any]:
    """The architectures whose name contains, or matches, the pattern."""
    from ddarts.genotype.zoo import entries

    return {"architectures": [dataclasses.asdict(entry) for entry in entries(options.pattern)]}
