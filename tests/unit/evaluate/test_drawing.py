"""Drawings: what they contain, that nothing overlaps, and which files are written."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.image import imread

from ddarts.config import ShowConfig
from ddarts.evaluate.canvas import settings
from ddarts.evaluate.cell_art import strands
from ddarts.evaluate.drawing import draw, render, show
from ddarts.evaluate.html import inline
from ddarts.evaluate.layout import NODE_RADIUS
from ddarts.evaluate.sheet import sheet, single
from ddarts.evaluate.wiring import used_cells
from ddarts.genotype import zoo
from ddarts.genotype.deepen import deepen
from ddarts.genotype.schema import Genotype, live_genes
from ddarts.runtime.errors import DdartsError, UsageError

SPARSE = "D-DARTS_threshold_sparse_cifar10_0.85_50"
EDGE = "D-DARTS_threshold_edge_cifar10_0.85_50"
WIDEST = "ResNet50_cifar10_threshold_edge_0.85"
XCEPTION = "baseline_Xception"
SVG = "{http://www.w3.org/2000/svg}"


def request(**options) -> ShowConfig:
    return ShowConfig(**options)


def labels(svg: str, what: str = "op") -> Counter:
    """Operations labelled in a drawing, by name."""
    ids = [element.get("id", "") for element in ElementTree.fromstring(svg).iter(f"{SVG}g")]
    found = (re.fullmatch(rf"(?:\w+-)?cell-\d+-edge-\d+-\d+-{what}-(\w+)", name) for name in ids)
    return Counter(match[1] for match in found if match)


@pytest.mark.parametrize("name", [SPARSE, EDGE, WIDEST, XCEPTION])
def test_svg_labels_and_draws_every_operation_that_is_used_once(name: str) -> None:
    genotype = zoo.resolve(name)
    svg = render(genotype, "svg").decode()
    expected = Counter(gene.op for cell in used_cells(genotype) for gene in live_genes(cell.cell))
    assert labels(svg) == expected
    assert labels(svg, "line") == expected


def test_same_bytes_twice_whatever_the_users_settings() -> None:
    import matplotlib

    genotype = zoo.resolve(SPARSE)
    first = {form: render(genotype, form) for form in ("svg", "png", "html")}
    before = matplotlib.rcParams["font.size"]
    mine = {"font.family": "serif", "mathtext.fontset": "stix", "svg.fonttype": "none", "savefig.dpi": 30}
    with matplotlib.rc_context(mine):
        assert {form: render(genotype, form) for form in first} == first
    assert matplotlib.rcParams["font.size"] == before


@pytest.mark.parametrize("form", ["svg", "html"])
def test_nothing_refers_to_another_file(form: str) -> None:
    text = render(zoo.resolve(SPARSE), form).decode()
    targets = re.findall(r'(?:href|src)\s*=\s*"([^"]*)"|url\(([^)]*)\)', text)
    assert targets and all("".join(target).startswith("#") for target in targets)
    assert set(re.findall(r'https?://[^"\s<]+', text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"@import|<script|<link|DTD|<metadata", text)


def test_png_is_a_picture_of_readable_size() -> None:
    picture = imread(io.BytesIO(render(zoo.resolve(SPARSE), "png")))
    height, width = picture.shape[:2]
    assert width > 2000 and height > 1500
    assert len({tuple(pixel) for pixel in picture[::7, ::7, :3].reshape(-1, 3).tolist()}) > 20


@pytest.mark.parametrize("name", [WIDEST, EDGE, XCEPTION])
def test_no_text_overlaps_another(name: str) -> None:
    genotype = zoo.resolve(name)
    with settings():
        canvas = sheet(genotype, used_cells(genotype))
        renderer = canvas.figure.canvas.get_renderer()
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in canvas.axes.texts]
        page = canvas.figure.bbox
    assert len(boxes) > 40
    for word, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, word
    for (a, first), (b, second) in combinations(boxes, 2):
        apart = first.x1 <= second.x0 or second.x1 <= first.x0 or first.y1 <= second.y0 or second.y1 <= first.y0
        assert apart, f"{a!r} overlaps {b!r}"


def test_tracks_of_one_edge_keep_their_distance() -> None:
    level = ((0.0, 0.0), (3.0, 0.0), (7.0, 0.0), (9.0, 0.0))
    assert strands(level, 2.0) == tuple((x, 2.0) for x, _ in level)
    steep = ((0.0, 0.0), (5.0, 0.0), (5.0, 80.0), (10.0, 80.0))
    assert strands(steep, 1.0)[1:3] == ((4.0, 1.0), (4.0, 81.0))


def test_a_deep_network_shows_each_cell_once_and_says_where_it_stands() -> None:
    genotype = deepen(zoo.resolve(EDGE), 14)
    with settings():
        words = [text.get_text() for text in sheet(genotype, used_cells(genotype)).axes.texts]
    titles = [word for word in words if word.startswith("Cell ")]
    assert titles == [f"Cell {index}" for index in sorted(set(genotype.sequence or ()))]
    assert sum(word.endswith("÷2") for word in words) == 2
    assert sum(word.isdigit() for word in words) == 14 + 4 * len(titles)
    assert any(word.startswith("·  positions 0–2") for word in words)


def test_dead_cells_are_marked_and_a_chain_has_none(tmp_path: Path) -> None:
    genotype = zoo.resolve("baseline_ResNet18")
    with settings():
        words = [text.get_text() for text in sheet(genotype, used_cells(genotype)).axes.texts]
    assert words.count("0†") == words.count("0") == 2
    assert any("dead at 0, 2" in word for word in words) and any(word.startswith("Dead (†) at 0, 2") for word in words)
    for wiring, dead in (("increasing", True), ("published", True), ("chain", False)):
        text = show(request(arch="baseline_ResNet18", format="text", baseline_wiring=wiring))["text"]
        assert ("dead" in text, "2 ← 1 simple_conv_3x3" in text) == (dead, not dead)
    last = show(request(arch="DD-cifar100", format="text"))["text"]
    assert "cell 6 · reduction · nodes 2 3 4 5 · position 6, dead\n" in last


def test_six_nodes_say_how_the_searched_network_differs() -> None:
    with settings():
        for name, expected in ((WIDEST, True), (SPARSE, False)):
            genotype = zoo.resolve(name)
            words = " ".join(text.get_text() for text in sheet(genotype, used_cells(genotype)).axes.texts)
            assert ("here 4–7" in words) is expected


def test_reductions_and_missing_nodes_are_marked() -> None:
    by_index = {cell.index: cell for cell in used_cells(zoo.resolve(XCEPTION))}
    with settings():
        words = {index: [text.get_text() for text in single(cell).axes.texts] for index, cell in by_index.items()}
    assert ("stride 1 or 2" in words[0], "stride 2" in words[0]) == (True, False)
    assert not any("stride" in word for word in words[1])
    assert "stride 2" in words[2] and "2·C" in words[2]
    assert {"2", "3", "4", "5"} <= set(words[2])


def test_page_holds_drawings_listings_and_the_genotype() -> None:
    genotype = zoo.resolve(XCEPTION)
    text = render(genotype, "html").decode()
    assert text.count("<svg") == 2 + len(genotype.cells) == text.count("</svg>")
    assert text.count("<pre>") == len(genotype.cells) + 1
    assert 'name="viewport"' in text and "&quot;ddarts-genotype&quot;" in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', text)) <= set(ids)


def test_names_cannot_break_out_of_the_drawing() -> None:
    plain = zoo.resolve(XCEPTION)
    name = 'a<b>&"--]]><script>$x$'
    odd = Genotype(name, plain.space, plain.steps, plain.concat, plain.reductions, plain.cells, plain.sequence)
    title = ElementTree.fromstring(render(odd, "svg").decode()).find(f"{SVG}title")
    assert title is not None and title.text == name
    assert "<script>" not in render(odd, "html").decode()
    with settings():
        drawn = inline(single(used_cells(odd)[0]), "p", name)
    assert ElementTree.fromstring(drawn).get("aria-label") == name


def test_one_cell_alone(tmp_path: Path) -> None:
    config = request(arch=SPARSE, cell=3, output=str(tmp_path / "three.svg"))
    svg = Path(show(config)["path"]).read_text()
    assert sum(labels(svg).values()) == 8 and 'id="cell-3-edge-' in svg and 'id="cell-2-edge-' not in svg
    with pytest.raises(UsageError, match=r"--cell 8: .* has the cells 0–7"):
        show(request(arch=SPARSE, cell=8, format="text"))


def test_default_name_replaces_only_an_earlier_drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "Xception.svg"
    assert show(request(arch=XCEPTION)) == {"path": "Xception.svg"}
    drawn = path.read_bytes()
    path.write_bytes(drawn + b"<!-- touched -->")
    show(request(arch=XCEPTION))
    assert path.read_bytes() == drawn
    path.write_bytes(b"my own")
    with pytest.raises(UsageError, match=r"Xception\.svg: is there already"):
        show(request(arch=XCEPTION))
    assert path.read_bytes() == b"my own"
    assert show(request(arch=SPARSE, layers=14, format="png"))["path"] == f"{SPARSE}-14-layers.png"


def test_a_named_file_is_never_replaced(tmp_path: Path) -> None:
    path = draw(zoo.resolve(XCEPTION), tmp_path / "cells.svg")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is there already; choose another name"):
        show(request(arch=XCEPTION, output=str(path)))
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("cells.png", "svg", "its name says png, but --format is svg"),
        ("cells.gif", "gif", "--format gif: use one of svg, png, text, html"),
        (".", "svg", "is a folder"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path, name: str, form: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        draw(zoo.resolve(XCEPTION), tmp_path / name, form)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_drawing_is_created(tmp_path: Path) -> None:
    path = draw(zoo.resolve(XCEPTION), tmp_path / "a" / "b" / "cells.txt", "text")
    assert path.is_file()
    with pytest.raises(UsageError, match=r"cells\.txt is a file, not a folder"):
        draw(zoo.resolve(XCEPTION), path / "cells.txt", "text")


def test_the_word_concat_stands_in_the_middle_of_the_last_stretch_of_its_rail() -> None:
    with settings():
        canvas = single(used_cells(zoo.resolve(XCEPTION))[0])
        renderer = canvas.figure.canvas.get_renderer()
        texts = {text.get_text(): text for text in canvas.axes.texts}
        word, output, last = (
            texts[name].get_window_extent(renderer).transformed(canvas.axes.transData.inverted())
            for name in ("concat", "$c_k$", "5")
        )
    start, end = (last.x0 + last.x1) / 2 + NODE_RADIUS, (output.x0 + output.x1) / 2
    assert abs((word.x0 + word.x1) / 2 - (start + end) / 2) < 4
    assert start < word.x0 and word.x1 < end


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ddarts.evaluate.output.atomic_write_bytes", full)
    with pytest.raises(DdartsError, match="cannot be written: No space left on device"):
        draw(zoo.resolve(XCEPTION), tmp_path / "cells.txt", "text")


def test_text_goes_to_the_terminal_unless_a_file_is_named(tmp_path: Path) -> None:
    listing = show(request(arch=XCEPTION, format="text"))["text"]
    path = Path(show(request(arch=XCEPTION, format="text", output=str(tmp_path / "x.txt")))["path"])
    assert path.read_text(encoding="utf-8") == listing + "\n"
