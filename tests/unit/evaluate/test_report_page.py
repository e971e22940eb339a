"""The report's page: needs nothing but itself, says what the run did, and is sound HTML."""

import re
import shlex
from collections import Counter
from html import unescape
from html.parser import HTMLParser

import pytest
from made_runs import made_search, made_training

import ddarts
from ddarts.cli import main
from ddarts.commands import runs
from ddarts.commands.parser import parse
from ddarts.config import EvaluateConfig, ReportConfig, TrainConfig
from ddarts.evaluate.report.architecture import kept
from ddarts.evaluate.report.page import render, report_finished
from ddarts.evaluate.report.rundata import read_run
from ddarts.genotype.files import read
from ddarts.runtime.errors import UsageError
from ddarts.space.primitives import DDARTS

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "use", "rect", "circle"}


class Page(HTMLParser):
    """Elements of a page, with what stands open when it ends."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **wanted):
        return [attrs for name, attrs in self.tags if name == tag and wanted.items() <= attrs.items()]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search's folder, and its page."""
    folder = made_search(tmp_path_factory.mktemp("runs") / "tour", floor=0.25)
    return folder, render(read_run(folder))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = made_training(tmp_path_factory.mktemp("runs") / "tour", (20.0, 97.5, 70.0))
    return folder, render(read_run(folder))


@pytest.mark.parametrize("which", ["searched", "trained"])
def test_the_page_refers_to_nothing_outside_itself_and_runs_no_script(which, request):
    text = request.getfixturevalue(which)[1]
    page = Page(text)
    assert not page.all("script") and not page.all("link") and not page.all("iframe") and not page.all("img")
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("src", "srcset", "action")]
        for name in ("href", "xlink:href"):
            assert attrs.get(name, "#").startswith("#"), attrs
    assert "@import" not in text and set(re.findall(r"url\((.)", text)) <= {"#"}
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


@pytest.mark.parametrize("which", ["searched", "trained"])
def test_the_page_is_sound_and_accessible(which, request):
    page = Page(request.getfixturevalue(which)[1])
    assert page.open == []
    ids = Counter(attrs["id"] for _, attrs in page.tags if attrs.get("id"))
    assert max(ids.values()) == 1
    for _, attrs in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert all(word in ids for word in attrs.get(name, "").split())
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
        if attrs.get("role") in ("img", "region", "group"):
            assert attrs.get("aria-label") or attrs.get("aria-labelledby") or "viewbox" in attrs
        if attrs.get("class") in ("scroll", "drawing"):  # what scrolls is reached by keyboard
            assert attrs["tabindex"] == "0" and attrs["aria-label"]
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1 and all(b <= a + 1 for a, b in zip(headings, headings[1:], strict=False))
    assert page.all("html", lang="en") and len(page.all("caption")) == len(page.all("table")) > 0
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.all("th"))


def test_the_page_of_a_search_shows_all_that_was_found(searched):
    folder, text = searched
    genotype, page = read(folder / "genotype.json"), Page(text)
    assert {attrs["id"] for attrs in page.all("section") if "id" in attrs} == {
        "findings", "curves", "alphas", "contributions", "architecture", "cost", "repeat",
    }  # fmt: skip
    count = sum(map(len, genotype.cells))
    assert len(page.all("rect", **{"class": "field kept"})) == count
    assert len(page.all("rect", **{"class": "field"})) == 5 * 14 * 7 - count
    assert len(page.all("svg", **{"class": "heat"})) == 5
    assert [attrs["aria-label"] for attrs in page.all("div", role="group")] == [
        "The network tour: its cells in order",
        "Colours of the families of operations",
        *(f"Cell {i}, {'reduction' if i in genotype.reductions else 'normal'}" for i in range(5)),
    ]
    for words in ("94.00 %", "15.00 %", f"in {genotype.layers} cells", "DO-ResNet18-imagenet", "97.75 %"):
        assert words in text
    assert "acted in 25 % of all iterations" in text
    assert "ddarts train --arch" in text and "2026-11-24 16:09 to 16:12" in text
    for cell, gene in ((0, genotype.cells[0][0]), (4, genotype.cells[4][-1])):
        assert f"{gene.to} ← {gene.source}, {gene.op}: σ(α)" in text and f"Cell {cell}" in text


def test_the_operations_of_every_cell_are_counted(searched):
    genotype = read(searched[0] / "genotype.json")
    table = kept(genotype, DDARTS.operations)
    assert table.operations == DDARTS.operations
    for cell, counts in zip(genotype.cells, table.counts, strict=True):
        found = Counter(gene.op for gene in cell)
        assert dict(zip(table.operations, counts, strict=True)) == {op: found[op] for op in DDARTS.operations}
    assert sum(table.totals) == sum(map(len, genotype.cells))


def test_the_page_of_a_training_shows_its_results(trained):
    page = Page(trained[1])
    for words in ("Last test accuracy", "70.00 %", "97.50 %", "The accuracy fell towards the end", "1.23 M", "322"):
        assert words in page.text
    assert "DD-cifar10" in page.text and len(page.all("svg", **{"class": "chart"})) == 4


@pytest.mark.parametrize("make", [made_search, made_training])
def test_what_to_run_next_finds_the_run_and_its_images(make, tmp_path):
    folder = make(tmp_path / "a run", dataset="folder", data="/my images", image_size=64)
    line = re.search(r": <code>(ddarts .*?)</code>", render(read_run(folder)))[1]
    words = shlex.split(unescape(line))
    given = parse(TrainConfig if words[1] == "train" else EvaluateConfig, words[2:])
    assert given.pop("arch", None) == str(folder) or given.pop("model_path") == f"{folder}/last.safetensors"
    assert given == {"dataset": "folder", "data": "/my images", "image_size": "64"}


def test_text_from_a_run_is_never_markup(tmp_path):
    folder = made_search(tmp_path / "<script>alert(1)</script>"[:8], layers=3, epochs=1)
    with open(folder / "log.txt", "a") as log:
        log.write("2026-11-24 16:13:00,000 WARNING <img src=x onerror=alert(1)> & more\n")
    text = render(read_run(folder))
    page = Page(text)
    assert not page.all("script") and not page.all("img") and "<script" not in text
    assert "<img src=x onerror=alert(1)> & more" in page.text and "&lt;img src=x" in text


@pytest.mark.parametrize("operations", [7, 12])
def test_both_spaces_have_their_own_columns(tmp_path, operations):
    folder = made_search(tmp_path / "run", layers=3, epochs=2, operations=operations)
    page = Page(render(read_run(folder)))
    assert len(page.all("rect", **{"class": "field"})) + len(page.all("rect", **{"class": "field kept"})) == (
        3 * 14 * operations
    )


def test_the_command_writes_the_page_into_the_folder_and_over_an_old_one(searched, capsys):
    folder, text = searched
    for _ in range(2):
        assert main(["report", str(folder)]) == 0
        assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_text(encoding="utf-8") == text  # the same bytes every time
    assert ddarts.report(ReportConfig(run_dir=str(folder))) == {"path": str(folder / "report.html")}


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("# options of ddarts evaluate\nbatch_size: 3\n")
    for name, message in (
        ("nowhere", "no such folder"),
        ("file", "is a file"),
        ("empty", "not a run folder"),
        ("other", "whether it is a search or a training"),
    ):
        with pytest.raises(UsageError, match=message):
            ddarts.report(ReportConfig(run_dir=str(tmp_path / name)))
    assert main(["report"]) == 2
    assert "RUN_DIR is missing: give the folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["search", "train"])
def test_a_run_ends_with_its_report_and_never_fails_by_it(command, tmp_path, monkeypatch, caplog):
    folder = (made_search if command == "search" else made_training)(tmp_path / "run")
    result = {"run_dir": str(folder)}
    monkeypatch.setattr(f"ddarts.{command}.engine.{command}", lambda options: result)
    assert getattr(runs, command)(None) == result
    assert "<!doctype html>" in (folder / "report.html").read_text(encoding="utf-8")
    caplog.clear()
    monkeypatch.setattr("ddarts.evaluate.report.page.render", lambda run: 1 / 0)
    assert getattr(runs, command)(None) == result
    assert "report.html not written (ZeroDivisionError: division by zero)" in caplog.text
    report_finished(tmp_path / "nowhere")  # nor by a folder that has gone
