"""Is the architecture that a search found better than chance? Trains it and random ones of the same size alike.

The control of seed s is a random genotype with as many operations and nodes in each cell as the found one has at work
(edges from nodes without operations do not count), drawn with seed s: which operations on which edges is chance. Found
and random networks are trained with the same command line and the same seeds; the test accuracy after the last epoch
counts, so nothing is selected on test images.

    python benchmarks/search_vs_random.py --arch logs/search/search/genotype.json --dataset fashion_mnist --seeds 0,1,2

Options after `--` go to every `ddarts train`. Finished trainings under --out are not repeated.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ddarts.genotype.files import write
from ddarts.genotype.schema import Cell, Gene, Genotype, cell_problem, live_genes, nodes
from ddarts.genotype.zoo import resolve
from ddarts.space.primitives import space
from ddarts.space.topology import edges

TRIES = 10_000


def random_cell(cell: Cell, steps: int, operations: tuple[str, ...], draw: random.Random) -> Cell:
    """A cell with as many operations and as many nodes as `cell`, each on a random edge; rejected until it works."""
    everything = [Gene(op, to, source) for to, source in edges(steps) for op in operations]
    size = len(live_genes(cell))
    for _ in range(TRIES):
        genes = tuple(sorted(draw.sample(everything, size), key=lambda gene: (gene.to, gene.source)))
        if len(nodes(genes)) == len(nodes(cell)) and live_genes(genes) == genes and not cell_problem(genes, steps):
            return genes
    raise SystemExit(f"no random cell of {size} operations on {len(nodes(cell))} nodes found in {TRIES} tries")


def control(genotype: Genotype, seed: int) -> Genotype:
    """A random genotype with the cell sizes, reductions and space of `genotype`."""
    draw = random.Random(seed)
    operations = space(genotype.space).operations
    cells = tuple(random_cell(cell, genotype.steps, operations, draw) for cell in genotype.cells)
    return replace(genotype, name=f"random-{seed}", cells=cells)


def train(arch: Path, name: str, seed: int, options: argparse.Namespace) -> dict:
    """One training through the command line; a finished one is read back."""
    run_dir = Path(options.out) / "eval" / name
    if not (run_dir / "DONE").exists():
        command = [sys.executable, "-m", "ddarts", "train", "--arch", str(arch), "--dataset", options.dataset]
        command += ["--epochs", str(options.epochs), "--seed", str(seed)]
        started = (run_dir / "checkpoints").is_dir()
        command += ["--resume", str(run_dir)] if started else ["--out", options.out, "--save", name]
        threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
        subprocess.run(
            [*command, *options.rest], check=True, env={**os.environ, "OMP_NUM_THREADS": threads}, stdout=sys.stderr
        )
    return json.loads((run_dir / "DONE").read_text())


def summary(results: list[dict]) -> dict:
    """Mean and standard deviation (n − 1) of the last epoch's test accuracy, with sizes."""
    accuracies = [result["last_top1"] for result in results]
    return {
        "test_top1": accuracies,
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "params": [result["params"] for result in results],
        "macs": [result["macs"] for result in results],
    }


def main() -> None:
    own, rest = (sys.argv[1:], []) if "--" not in sys.argv else split(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", required=True, help="genotype that was found")
    parser.add_argument("--dataset", default="fashion_mnist")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--out", default="logs/search_vs_random")
    parser.add_argument("--json", default="benchmarks/results/search_vs_random.json", help="file for the results")
    options = parser.parse_args(own)
    options.rest = rest
    seeds = [int(seed) for seed in options.seeds.split(",")]
    found = resolve(options.arch)
    folder = Path(options.out) / "genotypes"
    jobs = [(write(found, folder / "found.json", overwrite=True), f"found-{seed}", seed) for seed in seeds]
    for seed in seeds:
        path = write(control(found, seed), folder / f"random-{seed}.json", overwrite=True)
        jobs.append((path, f"random-{seed}", seed))
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda job: train(*job, options), jobs))
    report = {
        "what": "test accuracy (percent) after the last epoch, found genotype against random ones of the same size",
        "dataset": options.dataset,
        "epochs": options.epochs,
        "seeds": seeds,
        "train_options": rest,
        "operations": sum(len(live_genes(cell)) for cell in found.cells),
        "found": summary(results[: len(seeds)]),
        "random": summary(results[len(seeds) :]),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
    }
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    for name in ("found", "random"):
        print(f"{name:7s} {report[name]['mean']:.2f} ± {report[name]['std']:.2f} %  {report[name]['test_top1']}")


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our own words, and those after `--`."""
    at = words.index("--")
    return words[:at], words[at + 1 :]


if __name__ == "__main__":
    main()
