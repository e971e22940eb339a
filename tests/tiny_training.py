"""A training of two epochs on small digits: what its tests share (fixtures: tests/integration/conftest.py)."""

from pathlib import Path

from ddarts.config import TrainConfig
from ddarts.genotype.schema import Gene, Genotype

CELL = (Gene("sep_conv_3x3", 2, 0), Gene("skip_connect", 2, 1), Gene("max_pool_3x3", 3, 2), Gene("skip_connect", 3, 0))
OTHER = (Gene("dil_conv_3x3", 2, 0), Gene("skip_connect", 2, 1))
STEPS = 3  # steps of an epoch: 1,437 digits in batches of 500
GENOTYPE = Genotype("tiny", "ddarts", 2, (2, 3), (1,), (CELL, CELL, OTHER))


def tiny_config(arch, out):
    """Two epochs of three steps on 8x8 digits, with everything on that has a state."""
    return TrainConfig(
        arch=arch,
        dataset="digits",
        image_size=8,
        init_channels=4,
        batch_size=500,
        epochs=2,
        learning_rate=0.1,
        drop_path_prob=0.4,
        auxiliary=True,
        cutout=True,
        cutout_length=2,
        ema=0.9,
        label_smooth=0.1,
        report_freq=1,
        device="cpu",
        out=str(out),
        save="a",
    )


def run_dir_of(config):
    """Where the run of `config` lies."""
    return Path(config.out) / "eval" / config.save
