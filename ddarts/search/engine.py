"""The search's loop: epochs of iterations, what is logged after each, checkpoints, and the genotype at the end."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ddarts.config.search import SearchConfig
from ddarts.config.validate import validate
from ddarts.data.loader import Loader
from ddarts.runtime.means import RunningMeans
from ddarts.runtime.metrics import EvalResult, evaluate
from ddarts.runtime.progress import Progress
from ddarts.runtime.rng import rng_state, set_rng_state
from ddarts.runtime.run import Run, open_run
from ddarts.runtime.schedule import cosine
from ddarts.search import reach, results
from ddarts.search.build import SearchData, Searcher, build
from ddarts.search.discretise import ParseRule, mixing_array
from ddarts.search.iteration import ArchitectureReport, Batch, DivergedError, WeightReport
from ddarts.supernet.network import frozen_statistics

_log = logging.getLogger(__name__)


def search(config: SearchConfig) -> dict[str, Any]:
    """Search an architecture as `config` says; returns run_dir, genotype (path, or None where α yield no valid one),
    valid_acc in percent, epochs and seconds_per_iteration.

    The run folder holds alphas.npz, genotype.json, metrics.jsonl, config.yaml, log.txt, TensorBoard events and
    checkpoints. Raises UsageError or DdartsError with one line that says what to do.
    """
    config = validate(config)
    data, searcher = build(config)
    with open_run(config, "search") as run:
        return Engine(config, data, searcher, run).run()


class Engine:
    """One search from its first or its restored step to its genotype."""

    def __init__(self, config: SearchConfig, data: SearchData, searcher: Searcher, run: Run) -> None:
        self.config = config
        self.data = data
        self.searcher = searcher
        self.iteration = searcher.iteration
        self.open = run
        self.rule = ParseRule(searcher.space, config.steps, config.multiplier, config.parse_method, config.op_threshold)
        self.epoch = self.batch = self.step = 0
        self.means = RunningMeans()
        self.measured: dict[str, Any] | None = None
        if run.restored is not None:
            self._restore(run.restored)

    def run(self) -> dict[str, Any]:
        """All remaining epochs, then the results."""
        per_epoch = self.data.train.batches_per_epoch
        total = self._total_steps()
        self._warn_of_reach(per_epoch, total)
        if self.open.restored is None:
            self._save()
        valid = None if self.config.single_level else endless(self.data.valid, self.step)
        with Progress(total, "search", report_freq=self.config.report_freq, done=self.step) as self.progress:
            while self.epoch < self.config.epochs and self.step < total:
                self._run_epoch(valid, total)
                if self.batch == per_epoch:
                    self._end_epoch()
        return self._finish()

    def _total_steps(self) -> int:
        total = self.config.epochs * self.data.train.batches_per_epoch
        return min(total, self.config.max_steps or total)

    def _warn_of_reach(self, per_epoch: int, total: int) -> None:
        steps = [max(0, min(per_epoch, total - epoch * per_epoch)) for epoch in range(self.config.epochs)]
        line = reach.warning(steps, self.config.arch_learning_rate, self.config.arch_learning_rate_min)
        if line:
            _log.warning(line)

    def _run_epoch(self, valid: Iterator[Batch] | None, total: int) -> None:
        self._set_learning_rates()
        self.searcher.network.train()
        for batch in self.data.train.epoch(self.epoch, start=self.batch):
            with self.open.clock:
                self._iterate(batch, valid)
            self.batch += 1
            self.step += 1
            self._report(total)
            self.open.stop_if_requested(self.step, self.state())
            every = self.config.checkpoint_every
            if every and self.step % every == 0:
                self._save()
            if self.step >= total:
                return

    def _set_learning_rates(self) -> None:
        config = self.config
        weights = cosine(self.epoch, config.epochs, config.learning_rate, config.learning_rate_min)
        alphas = cosine(self.epoch, config.epochs, config.arch_learning_rate, config.arch_learning_rate_min)
        for optimizer, rate in ((self.iteration.weight_optimizer, weights), (self.iteration.alpha_optimizer, alphas)):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _iterate(self, batch: Batch, valid: Iterator[Batch] | None) -> None:
        try:
            if valid is None:
                architecture, weights = self.iteration.joint_step(batch, self.step)
            else:
                architecture = self.iteration.architecture_step(next(valid), self.step)
                weights = self.iteration.weight_step(batch, self.step)
        except DivergedError as error:
            last = self.open.store.steps()
            where = f"step {last[-1]} of {self.open.run_dir}"
            raise DivergedError(f"{error}; the last good checkpoint is {where}") from None
        self._count(architecture, weights, len(batch[1]))

    def _count(self, architecture: ArchitectureReport, weights: WeightReport, images: int) -> None:
        found = architecture.found
        self.means.add(
            valid_loss=architecture.ce,
            zero_one=architecture.zero_one,
            marginal=found.marginal,
            ablation_loss=found.ablation_loss,
            ablation_floor=found.floor_acts,
            gradient_norm=weights.gradient_norm,
        )
        self.means.add(images, train_loss=weights.ce, train_acc=100 * weights.correct / images)

    def _report(self, total: int) -> None:
        loss, accuracy = (lambda: self.means.mean("train_loss")), (lambda: self.means.mean("train_acc"))
        self.progress.advance(description=f"epoch {self.epoch + 1}/{self.config.epochs}", loss=loss, accuracy=accuracy)
        if self.step % self.config.report_freq == 0 or self.step == total:
            self.open.log.row("train", self.step, self.epoch, loss=loss(), accuracy=accuracy(), **self._rates())

    def _rates(self) -> dict[str, float]:
        return {
            "learning_rate": self.iteration.weight_optimizer.param_groups[0]["lr"],
            "arch_learning_rate": self.iteration.alpha_optimizer.param_groups[0]["lr"],
        }

    def _end_epoch(self) -> None:
        found = self.measured = self._measure("epoch")
        self.progress.say(
            f"epoch {self.epoch + 1}: validation accuracy {found['valid_acc']:.2f} %, discretised "
            f"{found['discretised_acc']:.2f} %, {found['above_threshold']} operations at or above "
            f"{self.config.op_threshold:g}"
        )
        self.epoch, self.batch = self.epoch + 1, 0
        self.means.clear()
        self._save()

    def _measure(self, kind: str) -> dict[str, Any]:
        """Accuracy of the network and of its discretised form, the epoch's means and α: one row of the log."""
        mixing = mixing_array(self.searcher.alphas)
        whole, discretised = self.accuracy(), self.discretised_accuracy(mixing)
        row = {
            **self.means.all(),
            "valid_acc": whole.top1,
            "valid_eval_loss": whole.loss,
            "discretised_acc": discretised.top1,
            "discretisation_gap": whole.top1 - discretised.top1,
            "above_threshold": int((mixing >= self.config.op_threshold).sum()),
        }
        self.open.log.row(kind, self.step, self.epoch, **row)
        self.open.log.row("alphas", self.step, self.epoch, alphas=np.round(mixing, 4))
        results.write_alphas(self.open.run_dir, self.searcher.alphas)
        return row

    def accuracy(self) -> EvalResult:
        """Accuracy on the validation half with evaluation transforms, α and BN statistics as they are."""
        weights = self.searcher.alphas.per_position(self.searcher.alphas.mixing())
        self.searcher.network.eval()
        found = self._evaluate(weights, None)
        self.searcher.network.train()
        return found

    def discretised_accuracy(self, mixing: np.ndarray) -> EvalResult:
        """Accuracy on the validation half of the network that σ(α) [L, E, K] would become, with the search's weights.

        Kept operations count fully, the others not at all. BN uses the statistics of each batch: the running ones
        belong to the mixture of all operations and say nothing about a network without most of them.
        """
        weights = torch.ones(mixing.shape, device=self.searcher.device)
        with frozen_statistics(self.searcher.network):
            return self._evaluate(weights, self.rule.kept(mixing))

    @torch.no_grad()
    def _evaluate(self, weights: torch.Tensor, keep: list | None) -> EvalResult:
        def model(images: torch.Tensor) -> torch.Tensor:
            with self.searcher.autocast():
                return self.searcher.network(images, weights.detach(), keep)

        return evaluate(model, self.data.check.epoch(0))

    def _finish(self) -> dict[str, Any]:
        if self.batch or self.measured is None:  # stopped within an epoch, or nothing was left to do
            self._save()
            self.measured = self._measure("end")
        found = self.measured
        return results.finish(self.open, self.config, self.searcher, self.rule, found, self.epoch)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs to end in the same bits. Data and ablation draws follow from the cursor."""
        return {
            "cursor": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "network": self.searcher.network.state_dict(),
            "alphas": self.searcher.alphas.state_dict(),
            "weight_optimizer": self.iteration.weight_optimizer.state_dict(),
            "alpha_optimizer": self.iteration.alpha_optimizer.state_dict(),
            "scaler": self.iteration.scaler.state_dict(),
            "recipe": self.iteration.recipe.state(),
            "means": self.means.state(),
            "rng": rng_state(),
        }

    def _save(self) -> None:
        self.open.store.save(self.step, self.state())

    def _restore(self, state: dict[str, Any]) -> None:
        results.check_fits(self.searcher, state, self.open.run_dir)
        self.searcher.network.load_state_dict(state["network"])
        self.searcher.alphas.load_state_dict(state["alphas"])
        self.iteration.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.iteration.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.iteration.scaler.load_state_dict(state["scaler"])
        self.iteration.recipe.load(state["recipe"], self.searcher.device)
        self.means.load(state["means"], self.searcher.device)
        self.epoch, self.batch, self.step = (state["cursor"][name] for name in ("epoch", "batch", "step"))
        set_rng_state(state["rng"])


def endless(loader: Loader, start: int) -> Iterator[Batch]:
    """Batches of all epochs without end, from batch number `start` on."""
    epoch, batch = divmod(start, loader.batches_per_epoch)
    while True:
        yield from loader.epoch(epoch, start=batch)
        epoch, batch = epoch + 1, 0
