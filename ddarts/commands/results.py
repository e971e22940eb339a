"""Results as a person reads them: tables and a few lines, on stdout."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

_BAR = 32  # characters of the longest bar


def pairs(result: Result, _options: Any = None) -> str:
    """One `name  value` line for each entry."""
    width = max((len(name) for name in result), default=0)
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {_text(value)}" for name, value in result.items())


def derived(result: Result, options: Any) -> str:
    """The genotype as its file has it, or the path of that file."""
    if options.output:
        return str(options.output)
    from ddarts.genotype import files

    return files.to_json(files.from_dict(result, "the genotype derived")).rstrip("\n")


def shown(result: Result, options: Any) -> str:
    """A drawing in characters, or the path of the drawing."""
    return str(result.get("text") or result["path"])


def distances(result: Result, _options: Any) -> str:
    """The distance, then cell by cell with bars; or the distances of many architectures, which numbers stand for."""
    if "names" in result:
        titles = ("", "architecture", *(str(index) for index in range(len(result["names"]))))
        numbered = enumerate(zip(result["names"], result["distances"], strict=True))
        shown = table(titles, [(str(i), name, *(f"{value:.3f}" for value in row)) for i, (name, row) in numbered])
    else:
        widest = max(result["cells"]) or 1.0
        rows = [(str(i), _text(value), bar(value / widest)) for i, value in enumerate(result["cells"])]
        shown = f"distance  {_text(result['distance'])}\n{table(('cell', 'distance', ''), rows)}"
    return "\n".join([shown, *result.get("files", [])])


def architectures(result: Result, options: Any) -> str:
    """The table of architectures."""
    entries = result["architectures"]
    if not entries:
        return f"no architecture matches '{options.pattern}'; ddarts archs lists all"
    rows = []
    for entry in entries:
        source = entry["source"] if not entry["alias_of"] else f"{entry['alias_of']}: {entry['source']}"
        problem = f" (cannot be built: {entry['problem']})" if entry["problem"] else ""
        rows.append((*(str(entry[name]) for name in ("name", "space", "cells", "steps")), f"{source}{problem}"))
    return table(("name", "space", "cells", "steps", "where from"), rows)


def data_set(result: Result, _options: Any = None) -> str:
    """What was pinned; or the splits as a table, then what is wrong and what is odd."""
    if "splits" not in result:
        return pairs({**result, "images": ", ".join(f"{count} {split}" for split, count in result["images"].items())})
    titles = ("split", "images", "classes", "smallest class", "largest class", "sha256")
    rows = [
        (name, *(str(split[title.replace(" ", "_")]) for title in titles[1:]))
        for name, split in result["splits"].items()
    ]
    lines = [table(titles, rows), *(f"problem: {line}" for line in result["problems"])]
    lines += [f"odd: {item['path']}: {item['remark']}" for item in result["odd"]]
    lines += [f"bad: {item['path']}: {item['problem']}" for item in result["bad"]]
    if result["bad"]:
        lines.append(
            f"{len(result['bad'])} bad files, listed in {result['bad_list']}: --skip_bad_files leaves them out"
        )
    return "\n".join(lines)


def information(result: Result, _options: Any) -> str:
    """Versions and devices as lines, then the operators as a table."""
    rows = result["operators"]
    titles = ("versions", "devices", "build", "backend")
    blocks = [f"{title}\n{_indented(pairs(result[title]))}" for title in titles if result[title]]
    if rows:
        blocks.append(table(tuple(rows[0]), [tuple(_text(value) for value in row.values()) for row in rows]))
    return "\n".join(blocks)


def measured(result: Result, _options: Any) -> str:
    """The machine, what was measured, what was not, and where the files are."""
    subjects = {
        "kernels": _kernels,
        "supernet": _cells,
        "search": _ranks if "ranks" in result else _iterations,
        "train": _trainings,
        "data": _loaders,
        "ops": _operations,
    }
    blocks = [pairs(result["machine"]), *subjects[result["subject"]](result)]
    blocks += [f"left out: {line}" for line in result["left_out"]]
    return "\n".join([*blocks, *result["figures"], result["path"]])


def _kernels(result: Result) -> list[str]:
    titles = ("operator", "case", "variant", "contestant", "ms", "times faster", "of a copy's bandwidth", "of its part")
    return [
        table(titles, map(_measurement, result["results"])),
        "ms and times faster (than eager torch, or numpy): min, median, max; of its part: the cost of what a",
        "mask keeps, as a part of the whole, divided by the part of the bytes that it keeps; 100 % is in proportion",
    ]


def _cells(result: Result) -> list[str]:
    phases = [(row["case"]["name"], row["variant"], *_measurement(row)[3:6]) for row in result["results"]]
    titles = ("cell", "phase", "kernel", "calls", "ms", "MB", "MFLOP", "floor ms", "bound by", "share of peak")
    rows = []
    for line in result["kernels"]:
        names = (line["cell"], line["phase"], line["kernel"], str(line.get("calls", "")))
        numbers: tuple[str, ...] = (f"{1e3 * line['seconds']['median']:.3f}",)
        if "flops" in line:
            numbers += (
                f"{line['bytes'] / 1e6:.2f}",
                f"{line['flops'] / 1e6:.1f}",
                f"{1e3 * line['floor_seconds']:.3f}",
            )
            numbers += (line["bound_by"], f"{line['share_of_peak']:.0%}")
        rows.append((*names, *numbers, *[""] * (len(titles) - len(names) - len(numbers))))
    return [
        table(("cell", "phase", "execution", "ms", "times faster"), phases),
        table(titles, rows),
        f"floor: the larger of FLOP at {result['matmul_flops_per_second'] / 1e9:,.0f} GFLOP/s (a matrix product)",
        "and bytes at the copy's rate; what lies in a cache may be faster. ms: median, all calls of a pass together",
    ]


def _iterations(result: Result) -> list[str]:
    rows = []
    for case, found in result["cases"].items():
        for name, seconds in found["seconds"].items():
            ratio = found["ratios"].get(name)
            faster = "{min:.1f} {median:.1f} {max:.1f}".format(**ratio) if ratio else ""
            rows.append((case, name, "{min:.2f} {median:.2f} {max:.2f}".format(**seconds), faster))
    memory = {name: f"{nbytes / 2**20:,.0f} MiB" for name, nbytes in result["peak_memory"].items()}
    events = result["aten_events"]["measured"]
    return [
        table(("case", "contestant", "s an iteration", "times slower than ours"), rows),
        "s and times slower: min, median, max",
        table(("contestant", "peak memory"), memory.items()),
        f"the published iteration takes {result['peak_memory_ratio']:.1f} times the memory of ours",
        *([f"operators (aten) in a published iteration: {events:,}"] if events else []),
    ]


def _operations(result: Result) -> list[str]:
    best = max(result["results"], key=lambda row: row["mean"])["mean"] or 1.0
    rows = []
    for row in sorted(result["results"], key=lambda row: -row["mean"]):
        spread = f" ± {row['std']:.2f}" if row["std"] is not None else ""
        rows.append(
            (row["operation"], f"{row['mean']:.2f}{spread}", f"{row['published']:.2f}", bar(row["mean"] / best))
        )
    correlation = result["rank_correlation"]
    seeds = len(result["results"][0]["seeds"])
    return [
        table(("operation", "test accuracy, %", "published, %", ""), rows),
        f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed",
        *([f"rank correlation with the published accuracies: {correlation:.2f}"] if correlation is not None else []),
        f"use them: ddarts distance A B --op_weights {result['path']}",
    ]


def _loaders(result: Result) -> list[str]:
    rows = []
    for case, found in result["cases"].items():
        for name, rate in found["images_per_second"].items():
            cpu, share = found["cpu_microseconds_per_image"][name], found["share_of_h100_search"][name]
            ratio, per_core = found["ratios"].get(name), found["per_core_ratios"].get(name)
            faster = [f"{factor['median']:.2f}" if factor else "" for factor in (ratio, per_core)]
            rows.append((case, name, f"{rate['median']:,.0f}", f"{cpu['median']:,.0f}", *faster, f"{share:.1%}"))
    waits = {"a search": result["waiting"]["search"], **result["waiting"]["training"]}
    waited = [
        (step, name, "{min:.2%} {median:.2%} {max:.2%}".format(**share))
        for step, shares in waits.items()
        for name, share in shares.items()
    ]
    wanted = result["h100_search_images_per_second"]
    return [
        table(("case", "loader", "images/s", "CPU µs/image", "times faster", "per core", "of an H100's search"), rows),
        "medians; times faster than the plain DataLoader, by the clock and by CPU time; of an H100's search: the part",
        f"of the {wanted:,.0f} images a second that a fused search on one H100 is expected to take",
        table(("step of", "loader", "share spent waiting (min, median, max)"), waited),
        "a search from memory; else a training of a small network (DD-cifar10, few channels) on the case's batches",
    ]


def _trainings(result: Result) -> list[str]:
    rows = []
    for case, found in result["cases"].items():
        for name, speed in found["images_per_second"].items():
            ratio = found["ratios"].get(name)
            faster = "{min:.2f} {median:.2f} {max:.2f}".format(**ratio) if ratio else ""
            memory = f"{found['peak_memory'][name] / 2**20:,.0f}"
            rows.append((case, name, "{min:.1f} {median:.1f} {max:.1f}".format(**speed), faster, memory))
    titles = ("case", "contestant", "images/s", "times as fast as published", "peak memory, MiB")
    return [table(titles, rows), "images/s and times as fast: min, median, max"]


def _ranks(result: Result) -> list[str]:
    rows = []
    for number, found in result["ranks"].items():
        phases = [f"{found['phases'][phase]['median']:.3f}" for phase in ("architecture", "weights")]
        sent = sum(found["bytes"].values()) / 1e6, sum(found["all_reduces"].values())
        share, speed = found["communication_share"]["median"], found["images_per_second"]["median"]
        rows.append(
            (
                number,
                f"{found['seconds']['median']:.3f}",
                *phases,
                f"{share:.1%}",
                f"{sent[0]:.2f}",
                str(sent[1]),
                f"{speed:.0f}",
            )
        )
    titles = ("ranks", "s an iteration", "α", "weights", "communication", "MB reduced", "all-reduces", "images/s")
    return [table(titles, rows), "medians; every rank has a batch of its own, ranks of a CPU share its cores"]


def _measurement(row: Result) -> tuple[str, ...]:
    share, ratio, cost = row["share_of_copy"], row["ratio"], row.get("cost_of_remaining")
    milliseconds = {key: 1e3 * value for key, value in row["seconds"].items()}
    return (
        row["op"],
        row["case"]["name"],
        row["variant"],
        row["contestant"],
        "{min:.3f} {median:.3f} {max:.3f}".format(**milliseconds),
        "{min:.2f} {median:.2f} {max:.2f}".format(**ratio) if ratio else "",
        f"{share['median']:.0%}" if share else "",
        f"{cost['median']:.0%}" if cost else "",
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text; on a narrow terminal cells wrap, elsewhere nothing is cut."""
    import io
    import sys

    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(*titles, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        grid.add_row(*row)
    out = io.StringIO()
    width = None if sys.stdout.isatty() else 10_000
    Console(file=out, width=width, markup=False, highlight=False).print(grid)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines() if line.strip())


def bar(share: float) -> str:
    """A bar of `share` (0 to 1) of the full length, to an eighth of a character."""
    eighths = round(8 * _BAR * share)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)
