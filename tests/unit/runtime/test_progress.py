"""Progress stays off stdout, and asks for values only when it shows them."""

import io
import logging
import os
import sys

import pytest

from ddarts.runtime.console import log_to_stderr
from ddarts.runtime.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal_for(monkeypatch):
    """Called in a test's body: pytest puts its own stderr in place after the fixtures."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "200")):
        monkeypatch.setenv(name, value)
    return stderr


def test_plain_lines_off_a_terminal(capsys):
    calls = []
    with Progress(10, "search 1/5", report_freq=4) as progress:
        for i in range(10):
            progress.advance(loss=lambda i=i: calls.append(i) or 0.5 + i, accuracy=97.349)
            if i == 5:
                progress.say("[bold]a word[/bold]")
    out, err = capsys.readouterr()
    assert out == "" and calls == [3, 7, 9]
    lines = err.splitlines()
    assert [line.split("  0:00")[0] for line in lines] == [
        "search 1/5   4/10  loss 3.5  accuracy 97.35",
        "[bold]a word[/bold]",
        "search 1/5   8/10  loss 7.5  accuracy 97.35",
        "search 1/5  10/10  loss 9.5  accuracy 97.35",
    ]
    assert lines[0].endswith(" left") and not lines[-1].endswith(" left")


def test_larger_strides_and_a_continued_run(capsys):
    progress = Progress(100, "train", report_freq=30, done=50)
    for _ in range(10):
        progress.advance(5)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["60/100", "90/100", "100/100"]


def test_time_left_counts_the_steps_of_this_run_only(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress(1000, "train", report_freq=10, done=500)
    now[0] += 90
    progress.advance(10)
    assert capsys.readouterr().err == "train   510/1000  1:13:30 left\n"


def test_json_mode_is_plain_even_on_a_terminal(monkeypatch):
    terminal = terminal_for(monkeypatch)
    with Progress(2, "x", json_mode=True, report_freq=1) as progress:
        progress.advance(loss=1)
        progress.advance(loss=2)
    assert "\x1b" not in terminal.getvalue() and terminal.getvalue().count("\n") == 2


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_lines(monkeypatch, term):
    terminal = terminal_for(monkeypatch)
    monkeypatch.setenv("TERM", term)
    with Progress(1, "x") as progress:
        progress.advance(loss=1)
    assert "\x1b" not in terminal.getvalue() and "1/1" in terminal.getvalue()


def test_one_bar_on_a_terminal(monkeypatch, capsys):
    terminal = terminal_for(monkeypatch)
    calls = []
    stdout = sys.stdout
    with Progress(1000, "search [1/5]") as progress:
        assert sys.stdout is stdout  # results printed meanwhile are not taken to stderr
        for i in range(1000):
            progress.advance(loss=lambda i=i: calls.append(i) or 0.25, accuracy=12.5)
        progress.say("a word [x]")
        logger = logging.getLogger("ddarts.test")
        before = list(logging.getLogger("ddarts").handlers)
        log_to_stderr()
        log_to_stderr()
        logger.warning("careful")
        logging.getLogger("ddarts").handlers[:] = before
    text = terminal.getvalue()
    assert capsys.readouterr().out == ""
    assert calls[-1] == 999 and len(calls) < 20
    assert "search [1/5]" in text and "1000/1000" in text and "loss 0.25  accuracy 12.5" in text
    assert text.count("a word [x]") == 1 and text.count("warning: careful") == 1
    assert text.rstrip().splitlines()[-1].count("search") <= 2 and sys.stderr is terminal


def test_an_error_inside_leaves_the_terminal_as_it_was(monkeypatch):
    terminal = terminal_for(monkeypatch)

    def broken():
        raise AssertionError("must not be asked")

    with pytest.raises(RuntimeError, match="step failed"), Progress(10, "x") as progress:
        progress.advance(loss=broken)
        raise RuntimeError("step failed")
    assert sys.stderr is terminal and "\x1b[?25h" in terminal.getvalue()  # the cursor is back


def test_importing_it_needs_neither_rich_nor_torch():
    code = (
        "import sys, ddarts.runtime.progress, ddarts.runtime.rundir, ddarts.runtime.runlog, ddarts.runtime.signals,"
        "ddarts.runtime.package, ddarts.runtime.console; print({'torch', 'rich', 'numpy'} & set(sys.modules))"
    )
    with os.popen(f'"{sys.executable}" -c "{code}"') as out:
        assert out.read().strip() == "set()"
