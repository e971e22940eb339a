"""The training loop: epochs of steps, what is logged after each, checkpoints, best and last weights.

metrics.jsonl holds two kinds of rows. `train`: loss (of the main classifier, label smoothing included) and top1 over
the epoch so far, lr, drop_path. `test`, after every epoch: top1, top5, loss (plain cross entropy) on the test images.
"""

import logging
from typing import Any

import torch

from ddarts.config import TrainConfig, validate
from ddarts.genotype.files import write
from ddarts.network.model import DerivedNetwork
from ddarts.network.weights import save_network
from ddarts.runtime.device import resolve_precision
from ddarts.runtime.means import RunningMeans
from ddarts.runtime.metrics import EvalResult, evaluate
from ddarts.runtime.progress import Progress
from ddarts.runtime.rng import rng_state, set_rng_state
from ddarts.runtime.run import Run, open_run
from ddarts.runtime.schedule import cosine
from ddarts.train import results
from ddarts.train.build import TrainData, Trainer, build
from ddarts.train.memory import estimate, explained
from ddarts.train.optimizer import set_learning_rate
from ddarts.train.step import DivergedError, StepReport

_log = logging.getLogger(__name__)


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a derived network as `config` says.

    Returns run_dir, best_top1 and last_top1 in percent, params, macs and images_per_second. The run folder holds
    best.safetensors and last.safetensors (with --ema also ema.safetensors), genotype.json, metrics.jsonl, config.yaml,
    log.txt, TensorBoard events and checkpoints. Raises UsageError or DdartsError with one line that says what to do;
    Requeue (exit code 75) where a signal stopped the run after saving.
    """
    config = validate(config)
    data, trainer = build(config)
    with open_run(config, "eval") as run:
        return Engine(config, data, trainer, run).run()


class Engine:
    """One training from its first or its restored step to its last."""

    def __init__(self, config: TrainConfig, data: TrainData, trainer: Trainer, run: Run) -> None:
        self.config, self.data, self.trainer, self.open = config, data, trainer, run
        self.model, self.stepper = trainer.model, trainer.stepper
        self.epoch = self.batch = self.step = self.images = 0
        self.best: float | None = None
        self.means = RunningMeans()
        per_epoch = data.train.batches_per_epoch
        self.total = min(config.epochs * per_epoch, config.max_steps or config.epochs * per_epoch)
        precision = resolve_precision(config.precision, config.amp, trainer.device.type)
        needed = estimate(trainer.cost.activations, trainer.cost.params, config.batch_size, precision)
        self.in_memory = lambda: explained(config.batch_size, self.model.init_channels, needed)
        if run.restored is not None:
            self._restore(run.restored)

    def run(self) -> dict[str, Any]:
        """All remaining epochs, then the results."""
        write(self.model.genotype, self.open.run_dir / "genotype.json", overwrite=True)
        if self.open.restored is None:
            self._save()
        last = None
        with Progress(self.total, "train", report_freq=self.config.report_freq, done=self.step) as self.progress:
            while self.step < self.total:
                self._run_epoch()
                if self.batch == self.data.train.batches_per_epoch:
                    last = self._end_epoch()
            if last is None or self.batch:  # stopped within an epoch, or nothing was left to do
                last = self._end_early()
        return results.finish(self.open, self.config, self.trainer, self.best or 0.0, last.top1, self.images)

    def _run_epoch(self) -> None:
        config = self.config
        set_learning_rate(self.stepper.optimizer, cosine(self.epoch, config.epochs, config.learning_rate))
        self.model.drop_path_prob = config.drop_path_prob * self.epoch / config.epochs
        self.model.train()
        with self.in_memory():
            for images, labels in self.data.train.epoch(self.epoch, start=self.batch):
                self._step(images, labels)
                if self.step >= self.total:
                    return

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        with self.open.clock:
            report = self._checked(lambda: self.stepper.step(images, labels, self.step + 1))
            if self.trainer.average is not None:
                self.trainer.average.update(self.model)
        self.batch, self.step, self.images = self.batch + 1, self.step + 1, self.images + len(labels)
        self._report(report, len(labels))
        if self.open.stop.requested:
            self._checked(self.stepper.check)
            self.open.stop_if_requested(self.step, self.state())
        if self.config.checkpoint_every and self.step % self.config.checkpoint_every == 0:
            self._save()

    def _checked(self, work: Any) -> Any:
        """Do `work`; a divergence names the checkpoint to go back to."""
        try:
            return work()
        except DivergedError as error:
            saved = self.open.store.steps()
            where = f"step {saved[-1]} of {self.open.run_dir}" if saved else "none"
            raise DivergedError(f"{error}; last good checkpoint: {where}; a lower --learning_rate may help") from None

    def _report(self, report: StepReport, images: int) -> None:
        self.means.add(images, loss=report.loss, top1=100 * report.correct / images)
        loss, top1 = (lambda: self.means.mean("loss")), (lambda: self.means.mean("top1"))
        self.progress.advance(description=f"epoch {self.epoch + 1}/{self.config.epochs}", loss=loss, top1=top1)
        ended = self.batch == self.data.train.batches_per_epoch
        if self.step % self.config.report_freq == 0 or self.step == self.total or ended:
            self._checked(self.stepper.check)
            rates = {"lr": self.stepper.optimizer.param_groups[0]["lr"], "drop_path": self.model.drop_path_prob}
            self.open.log.row("train", self.step, self.epoch, loss=loss(), top1=top1(), **rates)

    def _end_epoch(self) -> EvalResult:
        found = self._measure()
        if self.best is None or found.top1 > self.best:
            self.best = found.top1
            self._save_weights("best", self.model)
        self.epoch, self.batch = self.epoch + 1, 0
        self.means.clear()
        self._save()
        return found

    def _end_early(self) -> EvalResult:
        """Measure and save where the run was told to stop; a run that goes on from here knows nothing of it."""
        if self.batch:
            self._save()
        found = self._measure()
        if self.best is None or found.top1 > self.best:
            self.best = found.top1
            self._save_weights("best", self.model)
        return found

    def _measure(self) -> EvalResult:
        """Accuracy on the test images, and the last weights."""
        self._checked(self.stepper.check)
        found = self._accuracy(self.model)
        row = {"top1": found.top1, "top5": found.top5, "loss": found.loss}
        if self.stepper.scaler.is_enabled():
            row["skipped_updates"] = self.stepper.skipped.item()
        if self.trainer.average is not None:
            average = self._accuracy(self.trainer.average.module)
            row.update(ema_top1=average.top1, ema_top5=average.top5, ema_loss=average.loss)
            self._save_weights("ema", self.trainer.average.module)
        self._save_weights("last", self.model)
        self.open.log.row("test", self.step, self.epoch, **row)
        best = max(found.top1, self.best or 0.0)
        self.progress.say(
            f"epoch {self.epoch + 1}: test accuracy {found.top1:.2f} %, best {best:.2f} %"
            + (f", moving average {row['ema_top1']:.2f} %" if "ema_top1" in row else "")
        )
        return found

    def _accuracy(self, model: DerivedNetwork) -> EvalResult:
        def forward(images: torch.Tensor) -> torch.Tensor:
            with self.trainer.autocast():
                return model(images)

        model.eval()
        with self.in_memory():
            return evaluate(forward, self.data.test.epoch(0))

    def _save_weights(self, name: str, model: DerivedNetwork) -> None:
        config = self.config
        path = self.open.run_dir / f"{name}.safetensors"
        save_network(path, model, config.dataset or "", config.derivation, self.data.image_size)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs to end in the same bits. The order of the data follows from the cursor."""
        average = self.trainer.average
        return {
            "cursor": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "model": self.model.state_dict(),
            "optimizer": self.stepper.optimizer.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
            "skipped": self.stepper.skipped,
            "average": None if average is None else average.state_dict(),
            "best": self.best,
            "means": self.means.state(),
            "rng": rng_state(),
        }

    def _save(self) -> None:
        self._checked(self.stepper.check)
        self.open.store.save(self.step, self.state())

    def _restore(self, state: dict[str, Any]) -> None:
        results.check_fits(self.model, self.trainer.average, state, self.open.run_dir)
        self.model.load_state_dict(state["model"])
        self.stepper.optimizer.load_state_dict(state["optimizer"])
        self.stepper.scaler.load_state_dict(state["scaler"])
        self.stepper.skipped.copy_(state["skipped"])
        if self.trainer.average is not None:
            self.trainer.average.load_state_dict(state["average"])
        self.means.load(state["means"], self.trainer.device)
        self.best = state["best"]
        self.epoch, self.batch, self.step = (state["cursor"][name] for name in ("epoch", "batch", "step"))
        set_rng_state(state["rng"])
