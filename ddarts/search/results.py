"""What a search leaves behind: alphas.npz, genotypes, the DONE marker, and the last lines it prints."""

import io
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ddarts.config.search import SearchConfig
from ddarts.genotype.files import write
from ddarts.genotype.schema import Genotype
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.files import atomic_write_bytes
from ddarts.runtime.run import Run, data_options, shown_path
from ddarts.runtime.rundir import mark_done
from ddarts.search.build import Searcher
from ddarts.search.discretise import ParseRule, mixing_array, mixing_of
from ddarts.supernet.alphas import Alphas

_log = logging.getLogger(__name__)


def write_alphas(run_dir: Path, alphas: Alphas) -> None:
    """alphas.npz: `alphas` = σ(α) and `logits` = α, float [cells, edges, operations]."""
    buffer = io.BytesIO()
    logits = alphas.per_position(alphas.logits).detach().cpu().numpy()
    np.savez(buffer, alphas=mixing_array(alphas), logits=logits)
    path = run_dir / "alphas.npz"
    try:
        atomic_write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise DdartsError(f"{path}: not written ({error.strerror or error})") from error


def finish(
    run: Run, config: SearchConfig, searcher: Searcher, rule: ParseRule, found: dict[str, Any], epochs: int
) -> dict[str, Any]:
    """Write the genotype, say what was found and what to run next; returns the command's result."""
    name = run.run_dir.name
    genotype, problems = rule.genotype(mixing_of(searcher.alphas), name, searcher.network.reductions)
    path = None
    if genotype is not None:
        path = write(genotype, run.run_dir / "genotype.json", overwrite=True)
    else:
        (run.run_dir / "genotype.json").unlink(missing_ok=True)  # of an earlier stop of this run
    result = {
        "run_dir": str(run.run_dir),
        "genotype": None if path is None else str(path),
        "valid_acc": found["valid_acc"],
        "epochs": epochs,
        "seconds_per_iteration": run.clock.per_step,
    }
    for line in _summary(run, config, found, genotype, problems):
        _log.info(line)
    mark_done(run.run_dir, result)
    return result


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
    operations = ", ".join(f"{count} {op}" for op, count in kept.most_common())
    return [
        f"found {genotype.layers} cells with {kept.total()} operations: {operations}",
        f"validation accuracy {found['valid_acc']:.2f} %; with the operations dropped that the genotype drops, "
        f"{found['discretised_acc']:.2f} %",
        f"genotype: {shown_path(run.run_dir / 'genotype.json')}",
        f"next: ddarts show --arch {where} --format text",
        f"      ddarts train --arch {where} {data_options(config)}",
    ]
