"""What the report reads, warns of and draws, part by part."""

import json
import math
import re
import shlex

import numpy as np
import pytest
from made_runs import made_search, made_training

from ddarts.commands.parser import parse
from ddarts.config import CostConfig, SearchConfig, TrainConfig, resolve
from ddarts.evaluate.cost import cost
from ddarts.evaluate.report.architecture import costs
from ddarts.evaluate.report.charts import Series, chart, number, ticks
from ddarts.evaluate.report.findings import findings
from ddarts.evaluate.report.heat import panels, short
from ddarts.evaluate.report.page import render
from ddarts.evaluate.report.repeat import command_line
from ddarts.evaluate.report.rundata import read_run
from ddarts.genotype.files import write
from ddarts.genotype.schema import Gene, Genotype
from ddarts.space.primitives import DDARTS, OPERATIONS


def titles(folder, level="warning"):
    return [found.title for found in findings(read_run(folder)) if found.level == level]


# --- how to repeat ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (SearchConfig, {"dataset": "digits"}, "ddarts search --dataset digits --save again"),
        (SearchConfig, {"dataset": "digits", "learning_rate": 0.1}, "--learning_rate 0.1"),
        (
            SearchConfig,
            {"dataset": "digits", "arch_baseline": "ResNet18", "batch_size": 96},
            "ddarts search --dataset digits --batch_size 96 --arch_baseline ResNet18 --save again",
        ),
        (
            SearchConfig,
            {"dataset": "cifar10", "data": "/a b", "amp": True, "recipe": "official"},
            "--data '/a b' --amp",
        ),
        (SearchConfig, {"dataset": "digits", "arch_learning_rate": 0.3, "single_level": True}, "--single_level"),
        (
            SearchConfig,
            {"dataset": "digits", "arch_baseline": "ResNet18", "pretrain_epochs": 3},
            "ddarts search --dataset digits --arch_baseline ResNet18 --pretrain_epochs 3 --save again",
        ),
        (
            SearchConfig,
            {"dataset": "digits", "epochs": 9, "learning_rate": 0.1, "learning_rate_min": 0.01},
            "_min 0.01",
        ),
        (TrainConfig, {"dataset": "digits", "arch": "DD-4", "channels_last": False}, "--no_channels_last"),
        (TrainConfig, {"dataset": "fashion_mnist", "arch": "DD-4", "epochs": 600, "ema": 0.999}, "--ema 0.999"),
    ],
)
def test_the_command_line_gives_the_run_s_options_again(cls, options, words):
    config = resolve(cls, {**options, "save": "first"})
    line = command_line(config, "again")
    assert words in line
    program, command, *rest = shlex.split(line)
    again = resolve(cls, parse(cls, rest))
    assert (program, command) == ("ddarts", cls.command)
    assert {**vars(again), "save": ""} == {**vars(config), "save": ""}


# --- warnings -----------------------------------------------------------------------------------------------------


def test_a_sound_run_has_no_warning(tmp_path):
    assert titles(made_search(tmp_path / "search")) == titles(made_training(tmp_path / "train")) == []


@pytest.mark.parametrize(
    ("options", "title", "text"),
    [
        ({"done": False}, "Not finished", "ddarts search --resume"),
        ({"arch_learning_rate": 0.003}, "α out of reach", "use --arch_learning_rate"),
        ({"decided": 1.0, "genotype": False}, "No genotype", "cell 0: is empty"),
        ({"genotype": False}, "No genotype", "ddarts derive --alphas"),
        ({"floor": 0.4}, "The floor of the ablation loss acts", "In 40 % of the iterations of epoch 1"),
    ],
)
def test_every_warning_has_its_cause(tmp_path, options, title, text):
    folder = made_search(tmp_path / "run", **options)
    assert titles(folder) == [title]
    assert text in next(found.text for found in findings(read_run(folder)) if found.title == title)


def test_a_collapse_to_skip_connections_is_warned_of(tmp_path):
    folder = made_search(tmp_path / "run", layers=3)
    skips = tuple(Gene("skip_connect", node, 0) for node in (2, 3, 4))
    sound = (Gene("sep_conv_3x3", 2, 0), Gene("max_pool_3x3", 3, 1))

    def put(*cells):
        write(Genotype("run", "ddarts", 4, (2, 3, 4, 5), (1,), cells), folder / "genotype.json", overwrite=True)
        return titles(folder)

    assert put(sound, sound, sound) == []
    assert put(sound, skips, sound) == ["Cells without a convolution"]
    assert put(skips, skips, sound) == ["Collapse to skip connections", "Cells without a convolution"]


def test_what_the_run_said_is_a_note_once(tmp_path):
    folder = made_search(tmp_path / "run")
    (folder / "log.txt").write_text((folder / "log.txt").read_text() * 2)
    said = [found.text for found in findings(read_run(folder)) if found.title == "Said during the run"]
    assert said == ["--data has no effect: the digits come with scikit-learn"]


# --- incomplete and damaged folders -------------------------------------------------------------------------------


def test_a_run_that_was_killed_before_its_first_epoch_has_a_page(tmp_path):
    folder = made_search(tmp_path / "run", done=False, genotype=False)
    for name in ("metrics.jsonl", "alphas.npz", "log.txt"):
        (folder / name).unlink()
    text = render(read_run(folder))
    assert "No epoch yet" in text and "Not finished" in text and "nothing can be drawn" in text
    assert 'href="#curves"' not in text and 'href="#alphas"' not in text


def test_without_a_history_the_last_alphas_are_shown(tmp_path):
    folder = made_search(tmp_path / "run", layers=3)
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(row for row in rows if '"kind": "alphas"' not in row))
    epochs, history = read_run(folder).alphas
    assert epochs == [5] and history.shape == (1, 3, 14, 7)
    assert '<svg class="heat"' in render(read_run(folder))


def test_damaged_parts_are_left_out_and_named(tmp_path):
    folder = made_search(tmp_path / "run", layers=3)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    row = json.loads(lines[1])
    row.update(train_loss="nan", marginal=[1.0, "inf"], zero_one="x", valid_acc=None)
    broken = [
        '{"kind": 3, "step": 1, "epoch": 0}',
        "[]",
        '{"kind": "alphas", "step": 1, "epoch": 7, "alphas": [[1], 2]}',
    ]
    (folder / "metrics.jsonl").write_text("\n".join([lines[0], json.dumps(row), *lines[2:], *broken, lines[3][:20]]))
    (folder / "genotype.json").write_text("{")
    (folder / "config.yaml").write_text("# options of ddarts search\nno_such_option: 3\n")
    (folder / "DONE").write_text("[")
    text = render(read_run(folder))
    problems = [found.text for found in findings(read_run(folder)) if "cannot be read" in found.title]
    assert problems[0] == "metrics.jsonl: 3 of 19 lines cannot be read and are left out"
    assert "no_such_option" in problems[1] and "is not valid JSON" in problems[2]
    assert all(math.isfinite(float(value)) for value in re.findall(r'c[xy]="([^"]+)"', text))
    assert "nan" not in "".join(re.findall(r'points="([^"]+)"', text))


# --- cost ----------------------------------------------------------------------------------------------------------


def test_the_cost_of_what_was_found_is_that_of_the_network_which_a_training_builds(tmp_path):
    folder = made_search(tmp_path / "run", layers=3, arch_baseline="Xception")
    pairs = ((4, 3), (4, 0), (2, 0), (3, 1))  # 4 before 3: published wiring leaves this edge out
    late = tuple(Gene("sep_conv_3x3", to, source) for to, source in pairs)
    made = Genotype("run", "ddarts", 4, (2, 3, 4, 5), (1,), (late, late, late))
    write(made, folder / "genotype.json", overwrite=True)
    width, counted = costs(read_run(folder))[0]
    wanted = cost(CostConfig(arch=str(folder), dataset="digits", init_channels=width))
    assert (counted.params, counted.macs) == (wanted["params"], wanted["macs"])
    assert counted.macs != cost(CostConfig(arch=str(folder), init_channels=width, baseline_wiring="published"))["macs"]


# --- charts and heat maps -----------------------------------------------------------------------------------------


def test_a_chart_puts_points_where_their_values_are():
    drawn = chart("c", "T", [Series("a", [(1, 0.0), (2, 5.0), (3, 10.0)], "train")])
    points = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]+)"', drawn.svg)[1].split()]
    (x1, y1), (x2, y2), (x3, y3) = points
    left, right = map(float, re.search(r'class="grid" d="M([\d.]+) [\d.]+H([\d.]+)"', drawn.svg).groups())
    assert (x1, x2, x3) == pytest.approx((left, (left + right) / 2, right), abs=0.1)
    assert y1 > y2 > y3 and y2 == pytest.approx((y1 + y3) / 2, abs=0.1)
    zero = float(re.search(r'class="grid zero" d="M[\d.]+ ([\d.]+)', drawn.svg)[1])
    assert y1 == pytest.approx(zero, abs=0.1)
    assert "a: from 0 at 1 to 10 at 3, lowest 0, highest 10" in drawn.svg


def test_a_chart_is_logarithmic_where_values_span_decades_and_absent_without_points():
    wide = chart("c", "T", [Series("a", [(1, 100.0), (2, 10.0), (3, 1.0)], "train")])
    ys = [float(pair.split(",")[1]) for pair in re.search(r'points="([^"]+)"', wide.svg)[1].split()]
    assert "Logarithmic" in wide.note and ys[1] == pytest.approx((ys[0] + ys[2]) / 2, abs=0.1)
    assert chart("c", "T", [Series("a", [], "train")]) is None
    assert chart("c", "T", [Series("a", [(1, 3.0)], "train"), Series("b", [], "valid")]).series[0].name == "a"


def test_the_last_values_do_not_overlap():
    series = [Series(str(i), [(1, 50.0), (2, 90 + i / 100)], "train") for i in range(4)]
    drawn = chart("c", "T", series, percent=True)
    places = sorted(float(y) for y in re.findall(r'class="end train" x="[\d.]+" y="([\d.]+)"', drawn.svg))
    assert len(places) == 4 and min(b - a for a, b in zip(places, places[1:], strict=False)) >= 11


def test_ticks_and_numbers_are_round():
    assert ticks(0, 100) == [0, 25, 50, 75, 100]
    assert ticks(1, 50, most=6) == [10, 20, 30, 40, 50]
    assert ticks(-0.182, 0) == [-0.15, -0.1, -0.05, 0]
    assert [number(value) for value in (0, 0.0772, -0.0645, 1234.5, 0.000308)] == [
        "0", "0.0772", "−0.0645", "1,234", "3.1e−4",
    ]  # fmt: skip


def test_a_field_shows_its_course_and_cells_that_share_alphas_share_a_panel():
    history = np.full((4, 3, 14, 7), 0.5)
    history[:, 0, 0, 3] = (0.5, 0.5, 0.7, 1.0)
    kept = np.zeros((3, 14, 7), dtype=bool)
    kept[0, 0, 3] = True
    first, others = panels([1, 2, 3, 4], history, kept, DDARTS.operations, 0.85)
    assert first.positions == (0,) and others.positions == (1, 2)
    assert "1 of 98 operations at or above 0.85 after epoch 4, 1 kept" in first.story
    assert "2 ← 0, sep_conv_3x3: σ(α) 0.50 → 1.00, kept" in first.svg
    assert len(re.findall(r'<path class="h(\d+)"', first.svg)) == 3  # shades of 0.5, 0.7 and 1.0
    last = re.search(r'<path class="h10" d="M([\d.]+) [\d.]+h([\d.]+)', first.svg)
    left, width = re.search(r'"field kept" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', first.svg).groups()
    assert float(last[1]) == pytest.approx(float(left) + 0.75 * float(width), abs=0.2)
    assert float(last[2]) == pytest.approx(0.25 * float(width), abs=0.2)


def test_a_long_history_is_thinned_and_keeps_its_ends():
    history = np.linspace(0.1, 0.9, 600)[:, None, None, None] * np.ones((1, 1, 5, 7))
    (panel,) = panels(list(range(1, 601)), history, np.zeros((1, 5, 7), bool), DDARTS.operations, 0.85)
    assert "σ(α) 0.10 → 0.90" in panel.svg and "after epoch 600" in panel.story
    assert len(panel.svg) < 30_000


def test_short_names_tell_all_operations_of_a_space_apart():
    assert len({short(operation) for operation in OPERATIONS}) == len(OPERATIONS)
    assert short("sep_conv_3x3") == "sep 3" and short("skip_connect") == "skip"
