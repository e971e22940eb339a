"""The search's loop: epochs of iterations, what is logged after each, checkpoints, and the genotype at the end."""

import logging
from functools import partial
from typing import Any

import numpy as np
import torch

from ddarts.config.search import SearchConfig
from ddarts.config.validate import validate
from ddarts.data.census import check_census
from ddarts.genotype.files import to_dict
from ddarts.genotype.schema import Genotype
from ddarts.ops import use_backend
from ddarts.runtime.device import resolve_precision
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.means import RunningMeans
from ddarts.runtime.memory import explained
from ddarts.runtime.metrics import EvalResult, evaluate
from ddarts.runtime.optimizers import load_optimizer_state, optimizer_state
from ddarts.runtime.ranks.launch import open_ranks
from ddarts.runtime.ranks.saving import batch_at, load_own_state, network_state, own_state, position
from ddarts.runtime.ranks.statistics import Statistics
from ddarts.runtime.run import Run, check_fits, kept_options, open_run
from ddarts.runtime.schedule import set_learning_rate
from ddarts.search import reach, results
from ddarts.search.build import SearchData, Searcher, build
from ddarts.search.departure import FIRST_EPOCH, Departure
from ddarts.search.discretise import ParseRule, mixing_of
from ddarts.search.layout import layout_of
from ddarts.search.memory import bytes_needed
from ddarts.search.phases import Phase, phases
from ddarts.search.replay import launching
from ddarts.search.reports import ArchitectureReport, WeightReport
from ddarts.search.schedule import Schedule
from ddarts.search.seeds import search_seeds
from ddarts.supernet.network import frozen_statistics, steady_weights

_log = logging.getLogger(__name__)


def search(config: SearchConfig) -> dict[str, Any]:
    """Search an architecture as `config` says; returns run_dir, genotype (path, or None where α yield no valid one),
    valid_acc in percent, epochs and seconds_per_iteration.

    The run folder holds alphas.npz, genotype.json, metrics.jsonl, config.yaml, log.txt, TensorBoard events and
    checkpoints. Raises UsageError or DdartsError with one line that says what to do.
    """
    config = validate(config)
    layout_of(config)  # a baseline that is not there or does not fit is refused before any work
    if config.seeds:
        return search_seeds(config)
    with use_backend(config.backend), open_ranks(config) as group, open_run(config, "search", group) as run:
        data, searcher = build(config, group)
        precision = resolve_precision(config.precision, config.amp, searcher.device.type)
        needed = partial(bytes_needed, config, searcher, precision)
        could_halve = searcher.network.execution == "fused" and config.activation_storage != "half"
        otherwise = "--accumulate" + " or --activation_storage half" * could_halve
        with explained(config.batch_size, config.init_channels, needed, otherwise):
            return Engine(config, data, searcher, run).search()


class Engine:
    """One search from its first or its restored step to its genotype."""

    def __init__(self, config: SearchConfig, data: SearchData, searcher: Searcher, run: Run) -> None:
        self.config, self.data, self.searcher, self.run = config, data, searcher, run
        self.iteration = searcher.iteration
        self.rule = ParseRule(searcher.layout, config.parse_method, config.op_threshold)
        self.schedule = Schedule(config)
        baseline = None if config.no_arch_metric else searcher.layout.baseline
        self.departure = Departure(self.rule, baseline, self.schedule.pretraining + FIRST_EPOCH)
        self.epoch = self.batch = self.step = 0
        self.taken = 0  # batches of the validation half that α have seen
        self.whole = config.batch_size * run.group.size
        self.per_epoch = data.train.batches_per_epoch
        self.group = run.group
        self.statistics = Statistics(searcher.network, self.group)
        self.means = RunningMeans()
        self.measured: dict[str, Any] | None = None  # what the last full epoch ended with
        if run.restored is not None:
            self._restore(run.restored)
        total = self.step - self.batch + (self.schedule.epochs - self.epoch) * self.per_epoch
        self.total = min(total, config.max_steps or total)

    def search(self) -> dict[str, Any]:
        """All remaining epochs, then the results."""
        self.run.begin()
        self._warn_of_reach()
        if self.run.restored is None:
            self._save()
        launched = launching(self.config, self.iteration)
        phase_of = phases(self.schedule, self.iteration, self.data.valid, self.taken, launched)
        trace = self.run.profiling(self.searcher.device)
        with self.run.progress(self.total, "search", self.step) as self.progress, trace as self.traced:
            self._end_epoch_if_due()  # a stop may have come between the last step of an epoch and its end
            while self.step < self.total and not self.departure.settled:
                self._run_epoch(phase_of(self.epoch))
                self._end_epoch_if_due()
        return self._finish()

    def _warn_of_reach(self) -> None:
        line = reach.of_search(self.config, self.per_epoch, self.total)
        if line and self.group.size > 1:
            ranks = f"{self.group.size} ranks with --batch_size {self.config.batch_size}"
            line += f"; {ranks} leave {self.per_epoch} steps an epoch"
        if line:
            _log.warning(line)
        every = self.config.ablation_every
        if every > 1:
            _log.info("marginal contributions every %d iterations: not the published recipe", every)

    def _run_epoch(self, phase: Phase) -> None:
        self._set_learning_rates()
        self.searcher.network.train()
        self.run.clock.start()
        for batch in self.data.train.epoch(self.epoch, start=self.batch):
            with self.run.naming_checkpoint():
                architecture, weights = phase.run(phase.batches(batch), self.step)
            self._count(phase, architecture, weights, len(batch[1]))
            self.batch += 1
            self.step += 1
            self.taken += phase.validates
            self.run.clock.lap()
            self.traced()
            self._report()
            self._check_ranks()
            self.run.stop_if_requested(self.step, self.state)
            every = self.config.checkpoint_every
            if every and self.step % every == 0:
                self._save()
            if self.step >= self.total:
                break
        self.run.clock.stop(self.searcher.device)

    def _set_learning_rates(self) -> None:
        set_learning_rate(self.iteration.weights.optimizer, self.schedule.weight_rate(self.epoch))
        set_learning_rate(self.iteration.alpha_optimizer, self.schedule.alpha_rate(self.epoch))

    def _count(self, phase: Phase, architecture: ArchitectureReport | None, weights: WeightReport, images: int) -> None:
        self.means.add(gradient_norm=weights.gradient_norm)
        self.means.add(images, train_loss=weights.ce, train_acc=100 * weights.correct / images)
        if architecture is None:
            return
        self.means.add(zero_one=architecture.zero_one)
        if phase.validates:
            self.means.add(valid_loss=architecture.ce)
        found = architecture.found
        if found is not None:
            self.means.add(marginal=found.marginal, ablation_loss=found.ablation_loss, ablation_floor=found.floor_acts)

    def _check_ranks(self) -> None:
        every = self.config.check_ranks_every
        if every and self.step % every == 0:
            self.group.check_same(f"α after step {self.step}", self.searcher.alphas.logits)

    def _report(self) -> None:
        loss, accuracy = (lambda: self.means.mean("train_loss")), (lambda: self.means.mean("train_acc"))
        self.progress.advance(
            description=f"epoch {self.epoch + 1}/{self.schedule.epochs}", loss=loss, accuracy=accuracy
        )
        if self.step % self.config.report_freq == 0 or self.batch == self.per_epoch:
            self._check()
            rates = {
                "learning_rate": self.schedule.weight_rate(self.epoch),
                "arch_learning_rate": self.schedule.alpha_rate(self.epoch),
            }
            self.run.log.row("train", self.step, self.epoch, loss=loss(), accuracy=accuracy(), **rates)

    def _check(self) -> None:
        """Before anything is kept: whether all losses so far were finite."""
        with self.run.naming_checkpoint():
            self.iteration.check()

    def _end_epoch_if_due(self) -> None:
        if self.batch < self.per_epoch:
            return
        self.departure.observe(self.epoch, mixing_of(self.searcher.alphas))
        found = self.measured = self._measure("epoch")
        _log.info(self._epoch_line(found))
        self.epoch, self.batch = self.epoch + 1, 0
        self.means.clear()
        self._save()

    def _epoch_line(self, found: dict[str, Any]) -> str:
        line = (
            f"epoch {self.epoch + 1}{' (pretraining)' if self.schedule.pretrains(self.epoch) else ''}: validation "
            f"accuracy {found['valid_acc']:.2f} %, discretised {found['discretised_acc']:.2f} %, "
            f"{found['above_threshold']} operations at or above {self.config.op_threshold:g}"
        )
        if "distance" in found:
            line += f", distance to {self.config.arch_baseline} {found['distance']:.4f}"
        return line + (", which has settled: the search ends" if self.departure.settled else "")

    def _measure(self, kind: str) -> dict[str, Any]:
        """Accuracy of the network and of its discretised form, with the epoch's means: a row of the log; and α."""
        mixing = mixing_of(self.searcher.alphas).cpu().numpy()
        whole, discretised, scale = self.accuracy(), self.discretised_accuracy(), self.iteration.weights.scale
        row = {
            **self.means.all(),
            **({"skipped_updates": scale.skipped} if scale.enabled else {}),
            "valid_acc": whole.top1,
            "valid_eval_loss": whole.loss,
            "discretised_acc": discretised.top1,
            "discretisation_gap": whole.top1 - discretised.top1,
            "above_threshold": int((mixing >= self.config.op_threshold).sum()),
            **({} if self.departure.latest is None else {"distance": self.departure.latest}),
        }
        self.run.log.row(kind, self.step, self.epoch, **row)
        self.run.log.row("alphas", self.step, self.epoch, alphas=np.round(mixing, 4))
        if self.group.is_first:
            results.write_alphas(self.run.run_dir, self.searcher)
        return row

    def accuracy(self) -> EvalResult:
        """Accuracy on the validation half with evaluation transforms, α and BN statistics as they are."""
        weights = self.searcher.alphas.per_position(self.searcher.alphas.mixing())
        self.searcher.network.eval()
        with self.statistics.reduced():
            found = self._evaluate(weights, None)
        self.searcher.network.train()
        return found

    def discretised_accuracy(self) -> EvalResult:
        """Accuracy on the validation half of the network that σ(α) would become, with the search's weights.

        Kept operations count fully, the others not at all. BN uses the statistics of each batch: the running ones
        belong to the mixture of all operations and say nothing about a network without most of them.
        """
        alphas = self.searcher.alphas
        mixing = mixing_of(alphas)
        with frozen_statistics(self.searcher.network):
            return self._evaluate(torch.ones_like(alphas.per_position(mixing)), self.rule.kept(mixing))

    @torch.no_grad()
    def _evaluate(self, weights: torch.Tensor, keep: list | None) -> EvalResult:
        def model(images: torch.Tensor) -> torch.Tensor:
            with self.searcher.autocast():
                return self.searcher.network(images, weights.detach(), keep)

        with steady_weights(self.searcher.network):
            return evaluate(model, self.data.check.epoch(0), group=self.group)

    def _finish(self) -> dict[str, Any]:
        found = self.measured
        if self.batch or found is None:  # stopped within an epoch; a run that goes on from here knows nothing of this
            self._save()
            found = self._measure("end")
        return results.finish(self.run, self.config, self.searcher, self.rule, found, self.epoch)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs to end in the same bits. Data and ablation draws follow from the cursor."""
        self._check()
        return {
            "options": kept_options(self.config),
            "step": self.step,
            "training": position(self.epoch, self.batch, self.whole),
            "images": self.data.census,
            "validation": position(*divmod(self.taken, self.data.valid.batches_per_epoch), self.whole),
            "network": network_state(self.searcher.network, self.statistics),
            "alphas": self.searcher.alphas.state_dict(),
            "weight_optimizer": self.iteration.weights.state_dict(),
            "alpha_optimizer": optimizer_state(self.iteration.alpha_optimizer),
            "scale": self.iteration.weights.scale.state_dict(),
            "recipe": self.iteration.recipe.state(),
            "contributions": self.iteration.measured,
            "baseline": _as_dict(self.searcher.layout.baseline),
            "distances": list(self.departure.distances),
            "means": self.means.state(),
            "measured": self.measured,
            **own_state(self.group, self.statistics),
        }

    def _save(self) -> None:
        self.run.save(self.step, self.state())

    def _restore(self, state: dict[str, Any]) -> None:
        check_census(state.get("images"), self.data.census, self.run.run_dir)
        for name, module in (("network", self.searcher.network), ("alphas", self.searcher.alphas)):
            check_fits(name, module, state[name], self.run.run_dir)
            module.load_state_dict(state[name])
        if state.get("baseline") != _as_dict(self.searcher.layout.baseline):
            raise DdartsError(
                f"{self.run.run_dir}: its baseline {self.config.arch_baseline} was another when the run began; "
                "put the file back, or start a new run"
            )
        self.departure.distances = list(state.get("distances", ()))
        self.iteration.weights.load_state_dict(state["weight_optimizer"])
        load_optimizer_state(self.iteration.alpha_optimizer, state["alpha_optimizer"])
        self.iteration.weights.scale.load_state_dict(state["scale"])
        self.iteration.recipe.load(state["recipe"], self.searcher.device)
        measured = state.get("contributions")
        self.iteration.measured = None if measured is None else measured.to(self.searcher.device)
        self.means.load(state["means"], self.searcher.device)
        self.measured = state["measured"]
        self.step, self.epoch = state["step"], state["training"]["epoch"]
        self.batch = batch_at(state["training"], self.whole, self.per_epoch)
        per_epoch = self.data.valid.batches_per_epoch
        self.taken = state["validation"]["epoch"] * per_epoch + batch_at(state["validation"], self.whole, per_epoch)
        load_own_state(state, self.group, self.statistics)


def _as_dict(baseline: Genotype | None) -> dict[str, Any] | None:
    return None if baseline is None else to_dict(baseline)
