"""What a training leaves behind: the DONE marker and the last lines it says; and whether a checkpoint fits."""

import logging
from pathlib import Path
from typing import Any

from ddarts.config import TrainConfig
from ddarts.runtime.run import Run, data_options, shown_path
from ddarts.train.build import Trainer

_log = logging.getLogger(__name__)


def finish(run: Run, config: TrainConfig, trainer: Trainer, best: float, last: float, images: int) -> dict[str, Any]:
    """Say what was reached and what to run next; returns the command's result."""
    seconds = run.clock.seconds
    result = {
        "run_dir": str(run.run_dir),
        "best_top1": best,
        "last_top1": last,
        "params": trainer.cost.params,
        "macs": trainer.cost.macs,
        "images_per_second": images / seconds if images and seconds else None,
    }
    weights = shown_path(Path(run.run_dir) / "best.safetensors")
    _log.info("best test accuracy %.2f %%, last %.2f %%", best, last)
    _log.info("%.2f M parameters, %.1f M multiply-accumulates", trainer.cost.params / 1e6, trainer.cost.macs / 1e6)
    _log.info("best weights: %s", weights)
    _log.info("measure them: ddarts evaluate --model_path %s %s", weights, data_options(config))
    run.finish(result)
    return result
