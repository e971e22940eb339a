"""The report in a real browser: no request, no script error, nothing wider than the window, and readable text.

Needs playwright (a Python package) and a Chromium: playwright's own, or one of the system's
(`apt install chromium-headless-shell`).
"""

import shutil
import sys
from pathlib import Path

import pytest

from ddarts.evaluate.report.page import render
from ddarts.evaluate.report.rundata import read_run

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "evaluate"))
from made_runs import made_search, made_training  # noqa: E402

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
SIZE_OF_TEXT = """() => Math.min(...[...document.querySelectorAll('svg.chart text, svg.heat text')].map(
    text => text.getBoundingClientRect().height))"""
OUTSIDE = """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .drawing, .hidden, svg')
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
# Relative luminance of text and of the colour behind it, for every element with text of its own (WCAG 2).
CONTRAST = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > .99) return c; } return [255, 255, 255]; };
  const worst = [21, ''];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(node => node.nodeType == 3 && node.data.trim());
    if (!own || e.closest('.drawing, .hidden, .skip, title, desc')) continue;
    const style = getComputedStyle(e), ink = parse(e.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) { worst[0] = ratio; worst[1] = e.outerHTML.slice(0, 90); }
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        try:
            running = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip(f"needs a browser: `playwright install chromium`, or one of {', '.join(NAMES)}")
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of runs of all kinds, by name."""
    folder = tmp_path_factory.mktemp("runs")
    made = {
        "search": made_search(
            folder / "a-search-with-a-name-that-is-much-too-long-for-a-telephone", epochs=30, floor=0.3
        ),
        "wide": made_search(folder / "wide", layers=3, operations=12),
        "weak": made_search(
            folder / "weak", layers=3, decided=1.0, genotype=False, arch_learning_rate=0.003, done=False
        ),
        "train": made_training(folder / "train", data="/a/folder/with/a/long/path/" + "x" * 80, dataset="digits"),
    }
    for name, run in made.items():
        made[name] = run / "report.html"
        made[name].write_text(render(read_run(run)), encoding="utf-8")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["search", "wide", "weak", "train"])
def test_the_page_is_readable_offline(browser, pages, name, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(pages[name].as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach(e => { e.open = true })")
    assert requests == [pages[name].as_uri()] and errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(SIZE_OF_TEXT) >= 9  # pixels
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    context.close()


@pytest.mark.slow
def test_the_page_is_reached_by_keyboard_and_prints_whole(browser, pages):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(pages["search"].as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    seen = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
    assert {"A.", "SUMMARY.", "DIV.scroll", "DIV.drawing"} <= seen
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    for figure in ("svg.heat", "svg.chart", ".cells svg"):
        assert page.evaluate(f"document.querySelector('{figure}').getBoundingClientRect().right") <= 720
    page.close()
