"""What a reader of a run should be warned of, found in its folder."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ddarts.config import DeriveConfig
from ddarts.evaluate.report.rundata import RunData
from ddarts.evaluate.style import POOL, SKIP, family
from ddarts.evaluate.wiring import ranges
from ddarts.genotype.derive import derive
from ddarts.genotype.schema import Genotype
from ddarts.runtime.errors import DdartsError
from ddarts.search import reach
from ddarts.search.schedule import Schedule

COLLAPSED = 0.5  # share of skip connections among the operations kept
FLOOR_MATTERS = 0.1  # share of iterations in which the floor of the ablation loss acts
FALLEN = 2.0  # points of accuracy that the last weights may lie below the best
_EXCUSES = ("report.html not written",)


@dataclass(frozen=True)
class Finding:
    """`level` is `warning` or `note`."""

    level: str
    title: str
    text: str


def findings(run: RunData) -> list[Finding]:
    """Everything worth saying, warnings first."""
    found = [*_unfinished(run), *(_of_search(run) if run.command == "search" else _of_training(run)), *_skipped(run)]
    said = {finding.text for finding in found}
    found += [Finding("warning", "Part of the folder cannot be read", problem) for problem in run.problems]
    found += [
        Finding("note", "Said during the run", text)
        for text in run.warnings
        if text not in said and not text.startswith(_EXCUSES)
    ]
    return sorted(found, key=lambda finding: finding.level != "warning")


def floor_shares(run: RunData) -> list[float]:
    """For every epoch the share of its iterations in which the floor of the ablation loss acted."""
    return [share for _, share in run.series("ablation_floor", "epoch", "end")]


def reach_warning(run: RunData) -> str | None:
    """What `ddarts search` says where α cannot pass the threshold; None where it can, or too little was logged."""
    options, ends = run.options, run.of("epoch")
    if not ends:
        return None
    per_epoch = ends[0]["step"] // (ends[0]["epoch"] + 1)
    total = Schedule(options).epochs * per_epoch
    return reach.of_search(options, per_epoch, min(total, options.max_steps or total))


def _unfinished(run: RunData) -> Iterator[Finding]:
    if run.done is None:
        text = f"The folder holds no DONE: the run was stopped or is still going on. ddarts {run.command} --resume "
        yield Finding("warning", "Not finished", f"{text}{run.path} continues it.")
    if not run.of("epoch", "end", "test"):
        yield Finding("note", "No epoch yet", "Curves appear after the first epoch.")


def _of_search(run: RunData) -> Iterator[Finding]:
    line = reach_warning(run)
    if line:
        yield Finding("warning", "α out of reach", line)
    if run.genotype is None and run.alphas is not None:
        yield Finding("warning", "No genotype", _why_no_genotype(run))
    if run.genotype is not None:
        yield from _collapse(run.genotype)
    shares = floor_shares(run)
    if shares and max(shares) > FLOOR_MATTERS:
        worst = max(range(len(shares)), key=shares.__getitem__)
        yield Finding(
            "warning",
            "The floor of the ablation loss acts",
            f"In {100 * shares[worst]:.0f} % of the iterations of epoch {worst + 1} (last epoch: "
            f"{100 * shares[-1]:.0f} %) the mean marginal contribution was below 0.01: there, ablating the cells "
            "changes next to nothing, and their differences are divided by the floor instead.",
        )


def _why_no_genotype(run: RunData) -> str:
    try:
        derive(DeriveConfig(alphas=str(run.path)))
    except DdartsError as error:
        return str(error).removeprefix(f"{run.path / 'alphas.npz'}: ")
    return f"The folder holds no genotype.json, but its α give one: ddarts derive --alphas {run.path}"


def _collapse(genotype: Genotype) -> Iterator[Finding]:
    cells = [genotype.position(index) for index in range(genotype.layers)]
    families = [[family(gene.op) for gene in cell] for cell in cells]
    counts = Counter(look for cell in families for look in cell)
    if counts[SKIP] >= COLLAPSED * counts.total():
        text = (
            f"{counts[SKIP]} of the {counts.total()} operations kept are skip connections: the network hardly computes."
        )
        yield Finding("warning", "Collapse to skip connections", text)
    bare = [index for index, cell in enumerate(families) if set(cell) <= {SKIP, POOL}]
    if bare:
        text = f"Cell{'s' if len(bare) > 1 else ''} {ranges(bare)} kept pools and skip connections only."
        yield Finding("warning", "Cells without a convolution", text)


def _of_training(run: RunData) -> Iterator[Finding]:
    accuracies = [value for _, value in run.series("top1", "test")]
    if accuracies:
        yield Finding(
            "note",
            "Report the last accuracy",
            "The best weights are those of the epoch that does best on the test images; their accuracy is selected "
            "on these. The accuracy after the last epoch is not.",
        )
    if accuracies and max(accuracies) - accuracies[-1] > FALLEN:
        text = f"The last epoch ends at {accuracies[-1]:.2f} %, the best had {max(accuracies):.2f} %."
        yield Finding("warning", "The accuracy fell towards the end", text)


def _skipped(run: RunData) -> Iterator[Finding]:
    skipped = run.last("skipped_updates", "epoch", "end", "test")
    if skipped:
        yield Finding(
            "note", "Updates skipped", f"{skipped:.0f} updates overflowed in half precision and were left out."
        )
