"""Small architectures that several tests build."""

from ddarts.genotype.schema import Gene, Genotype


def genotype(
    *cells: tuple, reductions: tuple[int, ...] = (), steps: int = 4, sequence: tuple[int, ...] | None = None
) -> Genotype:
    """A genotype of the given cells, each a list of (operation, to, source)."""
    return Genotype(
        name="made",
        space="dartopti",
        steps=steps,
        concat=tuple(range(2, steps + 2)),
        reductions=reductions,
        cells=tuple(tuple(Gene(*gene) for gene in cell) for cell in cells),
        sequence=sequence,
    )


PLAIN = (("sep_conv_3x3", 2, 0), ("skip_connect", 2, 1), ("max_pool_3x3", 3, 2), ("dil_conv_5x5", 3, 0))
