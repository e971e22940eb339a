"""What a search leaves behind: alphas.npz, genotypes, the DONE marker, and the last lines it prints."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ddarts.config.search import SearchConfig
from ddarts.genotype import alphas_file
from ddarts.genotype.distance import distance
from ddarts.genotype.files import write
from ddarts.genotype.liveness import dead_cells_remark
from ddarts.genotype.schema import Genotype
from ddarts.runtime.run import Run, data_options, shown_path
from ddarts.search.build import Searcher
from ddarts.search.discretise import ParseRule, mixing_of

ALWAYS_SAVED = ("threshold_sparse", "threshold_edge")
_log = logging.getLogger(__name__)


def write_alphas(run_dir: Path, searcher: Searcher) -> None:
    """alphas.npz: σ(α) and α of the distinct cells, and what makes a network of them."""
    layout = searcher.layout
    alphas_file.write_alphas(
        run_dir / "alphas.npz",
        mixing_of(searcher.alphas).cpu().numpy(),
        searcher.alphas.logits.detach().cpu().numpy(),
        layout.space.name,
        layout.reductions,
        layout.shared,
    )


def write_genotypes(run_dir: Path, rule: ParseRule, mixing: Tensor) -> None:
    """genotype.json, and beside it what the two methods give that the published search saves. A file is absent where
    no network can be built of what its method keeps."""
    rules = {f"genotype_{method}": replace(rule, method=method) for method in ALWAYS_SAVED}
    for stem, each in rules.items():
        if not _write_genotype(run_dir, stem, f"{run_dir.name}_{each.method}", each, mixing):
            _log.info("%s.json is left out: --parse_method %s leaves a cell without operations", stem, each.method)
    _write_genotype(run_dir, "genotype", run_dir.name, rule, mixing)


def _write_genotype(run_dir: Path, stem: str, name: str, rule: ParseRule, mixing: Tensor) -> bool:
    """Whether there is one to write."""
    path = run_dir / f"{stem}.json"
    genotype, _ = rule.genotype(mixing, name)
    if genotype is None:
        path.unlink(missing_ok=True)  # of an earlier stop of this run
        return False
    write(genotype, path, overwrite=True)
    return True


def finish(
    run: Run, config: SearchConfig, searcher: Searcher, rule: ParseRule, found: dict[str, Any], epochs: int
) -> dict[str, Any]:
    """Write the genotype, say what was found and what to run next; returns the command's result."""
    mixing = mixing_of(searcher.alphas)
    genotype, problems = rule.genotype(mixing, run.run_dir.name)
    if run.group.is_first:
        write_genotypes(run.run_dir, rule, mixing)
    result = {
        "run_dir": str(run.run_dir),
        "genotype": None if genotype is None else str(run.run_dir / "genotype.json"),
        "valid_acc": found["valid_acc"],
        "epochs": epochs,
        "seconds_per_iteration": run.clock.per_step,
    }
    for line in _summary(run, config, found, genotype, problems):
        _log.info(line)
    if genotype is not None and searcher.layout.baseline is not None:
        _log.info(_departure(genotype, searcher.layout.baseline, config.arch_baseline or ""))
    remark = None if genotype is None else dead_cells_remark(genotype)
    if remark:
        _log.warning(remark)
    run.finish(result)
    return result


def _departure(genotype: Genotype, baseline: Genotype, name: str) -> str:
    apart = distance(baseline, genotype).distance
    return f"distance to {name}: {apart:.4f}{'' if apart else ' (its operations are those of the baseline)'}"


def _summary(run: Run, config: SearchConfig, found: dict, genotype: Genotype | None, problems: list[str]) -> list[str]:
    where = shown_path(run.run_dir)
    if genotype is None:
        return [
            f"no genotype yet: {'; '.join(problems)}",
            f"σ(α) are in {shown_path(run.run_dir / 'alphas.npz')}; "
            "search longer, raise --arch_learning_rate, or lower the threshold:",
            f"  ddarts derive --alphas {where} --op_threshold 0.5",
        ]
    kept = Counter(gene.op for cell in genotype.cells for gene in cell)
    distinct = "" if genotype.sequence is None else f" ({len(genotype.cells)} distinct)"
    operations = ", ".join(f"{count} {op}" for op, count in kept.most_common())
    return [
        f"found {genotype.layers} cells{distinct} with {kept.total()} operations: {operations}",
        f"validation accuracy {found['valid_acc']:.2f} %; with the operations dropped that the genotype drops, "
        f"{found['discretised_acc']:.2f} %",
        f"genotype: {shown_path(run.run_dir / 'genotype.json')}",
        f"next: ddarts show --arch {where} --format text",
        f"      ddarts train --arch {where} {data_options(config)}",
    ]
