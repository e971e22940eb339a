"""The training loop: epochs of steps, what is logged after each, checkpoints, best and last weights.

metrics.jsonl holds two kinds of rows. `train`: loss (of the main classifier, label smoothing included) and top1 over
the epoch so far, lr, drop_path. `test`, after every epoch: top1, top5, loss (plain cross entropy) on the test images.
"""

import logging
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from ddarts.config import TrainConfig, validate
from ddarts.data.census import check_census
from ddarts.genotype.files import write
from ddarts.network.diagnose import naming_operation
from ddarts.network.model import DerivedNetwork
from ddarts.network.weights import save_network
from ddarts.ops import use_backend
from ddarts.runtime.device import resolve_precision
from ddarts.runtime.means import RunningMeans
from ddarts.runtime.memory import estimate, explained
from ddarts.runtime.metrics import EvalResult, evaluate
from ddarts.runtime.ranks.launch import open_ranks
from ddarts.runtime.ranks.saving import batch_at, load_own_state, network_state, own_state, position
from ddarts.runtime.ranks.statistics import Statistics
from ddarts.runtime.run import Run, check_fits, kept_options, open_run
from ddarts.runtime.schedule import cosine, set_learning_rate
from ddarts.train import results
from ddarts.train.build import TrainData, Trainer, build
from ddarts.train.step import StepReport

_log = logging.getLogger(__name__)


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a derived network as `config` says.

    Returns run_dir, best_top1 and last_top1 in percent, params, macs and images_per_second. The run folder holds
    best.safetensors and last.safetensors (with --ema also ema.safetensors), genotype.json, metrics.jsonl, config.yaml,
    log.txt, TensorBoard events and checkpoints. Raises UsageError or DdartsError with one line that says what to do;
    Requeue (exit code 75) where a signal stopped the run after saving.
    """
    config = validate(config)
    with use_backend(config.backend), open_ranks(config) as group, open_run(config, "eval", group) as run:
        data, trainer = build(config, group)
        return Engine(config, data, trainer, run).train()


class Engine:
    """One training from its first or its restored step to its last."""

    def __init__(self, config: TrainConfig, data: TrainData, trainer: Trainer, run: Run) -> None:
        self.config, self.data, self.trainer, self.run = config, data, trainer, run
        self.model, self.stepper = trainer.model, trainer.stepper
        self.epoch = self.batch = self.step = self.images = 0
        self.best: float | None = None
        self.last: float | None = None  # what the last full epoch ended with
        self.means = RunningMeans()
        self.per_epoch = data.train.batches_per_epoch
        self.whole = config.batch_size * run.group.size
        self.group = run.group
        self.statistics = Statistics(self.model, self.group)
        averages = [] if trainer.average is None else [Statistics(trainer.average.module, self.group)]
        self.all_statistics = [self.statistics, *averages]
        precision = resolve_precision(config.precision, config.amp, trainer.device.type)
        images = -(-config.batch_size // config.accumulate)
        needed = partial(estimate, trainer.activations, trainer.cost.params, images, precision)
        sizes = config.batch_size, self.model.init_channels
        self.in_memory = lambda: explained(*sizes, needed, "--accumulate or --precision bf16")
        if run.restored is not None:
            self._restore(run.restored)
        total = self.step - self.batch + (config.epochs - self.epoch) * self.per_epoch
        self.total = min(total, config.max_steps or total)

    def train(self) -> dict[str, Any]:
        """All remaining epochs, then the results."""
        self.run.begin()
        if self.group.is_first:
            write(self.model.genotype, self.run.run_dir / "genotype.json", overwrite=True)
        if self.run.restored is None:
            self._save()
        trace = self.run.profiling(self.trainer.device)
        with self.run.progress(self.total, "train", self.step) as self.progress, trace as self.traced:
            self._end_epoch_if_due()  # a stop may have come between the last step of an epoch and its end
            while self.step < self.total:
                self._run_epoch()
                self._end_epoch_if_due()
        best, last = self.best, self.last
        if self.batch or last is None:  # stopped within an epoch; a run that goes on from here knows nothing of this
            self._save()
            self._log_means()
            last = self._measure().top1
            best = last if best is None else max(best, last)
        return results.finish(self.run, self.config, self.trainer, best or 0.0, last, self.images)

    def _run_epoch(self) -> None:
        config = self.config
        set_learning_rate(self.stepper.optimizer, cosine(self.epoch, config.epochs, config.learning_rate))
        self.model.drop_path_prob = config.drop_path_prob * self.epoch / config.epochs
        self.model.train()
        self.run.clock.start()
        with self.in_memory():
            for images, labels in self.data.train.epoch(self.epoch, start=self.batch):
                self._step(images, labels)
                if self.step >= self.total:
                    break
        self.run.clock.stop(self.trainer.device)

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        with self.run.naming_checkpoint(), naming_operation(self.model, images):
            report = self.stepper.step(images, labels, self.step + 1)
        if self.trainer.average is not None:
            self.trainer.average.update(self.model)
        self.batch, self.step, self.images = self.batch + 1, self.step + 1, self.images + len(labels) * self.group.size
        self.run.clock.lap()
        self.traced()
        self._report(report, len(labels))
        every = self.config.check_ranks_every
        if every and self.step % every == 0:
            self.group.check_same(f"weights after step {self.step}", *self.stepper.parameters)
        self.run.stop_if_requested(self.step, self.state)
        if self.config.checkpoint_every and self.step % self.config.checkpoint_every == 0:
            self._save()

    def _check(self) -> None:
        """Whether all steps so far were sound; on a GPU this waits for them."""
        with self.run.naming_checkpoint():
            self.stepper.check()

    def _report(self, report: StepReport, images: int) -> None:
        self.means.add(images, loss=report.loss, top1=100 * report.correct / images)
        loss, top1 = (lambda: self.means.mean("loss")), (lambda: self.means.mean("top1"))
        self.progress.advance(description=f"epoch {self.epoch + 1}/{self.config.epochs}", loss=loss, top1=top1)
        if self.step % self.config.report_freq == 0 or self.batch == self.per_epoch:
            self._log_means()

    def _log_means(self) -> None:
        self._check()
        rates = {"lr": self.stepper.optimizer.param_groups[0]["lr"], "drop_path": self.model.drop_path_prob}
        self.run.log.row("train", self.step, self.epoch, **self.means.all(), **rates)

    def _end_epoch_if_due(self) -> None:
        if self.batch < self.per_epoch:
            return
        self.last = self._measure().top1
        self.best = self.last if self.best is None else max(self.best, self.last)
        self.epoch, self.batch = self.epoch + 1, 0
        self.means.clear()
        self._save()

    def _measure(self) -> EvalResult:
        """Accuracy on the test images: a row of the log; the last weights, and the best where they are."""
        self._check()
        with ExitStack() as reduced:
            for statistics in self.all_statistics:
                reduced.enter_context(statistics.reduced())
            return self._measure_reduced()

    def _measure_reduced(self) -> EvalResult:
        found = self._accuracy(self.model)
        row = {"top1": found.top1, "top5": found.top5, "loss": found.loss}
        if self.stepper.scales:
            row["skipped_updates"] = self.stepper.skipped.item()
        if self.trainer.average is not None:
            average = self._accuracy(self.trainer.average.module)
            row.update(ema_top1=average.top1, ema_top5=average.top5, ema_loss=average.loss)
            self._save_weights("ema", self.trainer.average.module)
        self._save_weights("last", self.model)
        if self.best is None or found.top1 > self.best:
            self._save_weights("best", self.model)
        self.run.log.row("test", self.step, self.epoch, **row)
        best = max(found.top1, self.best or 0.0)
        line = f"epoch {self.epoch + 1}: test accuracy {found.top1:.2f} %, best {best:.2f} %"
        _log.info(line + (f", moving average {row['ema_top1']:.2f} %" if "ema_top1" in row else ""))
        return found

    def _accuracy(self, model: DerivedNetwork) -> EvalResult:
        def forward(images: torch.Tensor) -> torch.Tensor:
            with self.trainer.autocast():
                return model(images)

        model.eval()
        with self.in_memory():
            return evaluate(forward, self.data.test.epoch(0), group=self.group)

    def _save_weights(self, name: str, model: DerivedNetwork) -> None:
        config = self.config
        path = self.run.run_dir / f"{name}.safetensors"
        if self.group.is_first:
            about = self.data.image_size, self.data.census["class_names"]
            save_network(path, model, config.dataset or "", config.derivation, *about)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs to end in the same bits. The order of the data follows from the cursor."""
        self._check()
        average = self.trainer.average
        return {
            "options": kept_options(self.config),
            "step": self.step,
            "training": position(self.epoch, self.batch, self.whole),
            "images": self.data.census,
            "model": network_state(self.model, self.statistics),
            "stepper": self.stepper.state_dict(),
            "average": None if average is None else network_state(average.module, self.all_statistics[1]),
            "best": self.best,
            "last": self.last,
            "means": self.means.state(),
            **own_state(self.group, *self.all_statistics),
        }

    def _save(self) -> None:
        self.run.save(self.step, self.state())

    def _restore(self, state: dict[str, Any]) -> None:
        check_census(state.get("images"), self.data.census, self.run.run_dir)
        check_fits("network", self.model, state["model"], self.run.run_dir)
        self.model.load_state_dict(state["model"])
        self.stepper.load_state_dict(state["stepper"])
        if self.trainer.average is not None:
            self.trainer.average.load_state_dict(state["average"])
        self.means.load(state["means"], self.trainer.device)
        self.best, self.last = state["best"], state["last"]
        self.step, self.epoch = state["step"], state["training"]["epoch"]
        self.batch = batch_at(state["training"], self.whole, self.per_epoch)
        load_own_state(state, self.group, *self.all_statistics)
