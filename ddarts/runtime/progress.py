"""One progress bar on a terminal, plain lines elsewhere; always on stderr: stdout is for results. [light]"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

Value = float | Callable[[], float]

_REFRESH = 0.5  # seconds between two looks at the values on a terminal


class Progress:
    """Progress over `total` steps; a context manager.

        with Progress(len(batches), "search 1/50") as progress:
            for ...:
                progress.advance(loss=running.mean, accuracy=lambda: hits.item())

    Values may be functions. They are called only when something is shown (twice a second on a terminal, every
    `report_freq` steps and at the end elsewhere), so a value that lives on a GPU costs no wait in between.
    `json_mode` asks for plain lines even on a terminal. `done` is where a continued run begins. `shown` False counts
    in silence.
    """

    def __init__(
        self,
        total: int,
        description: str,
        json_mode: bool = False,
        *,
        report_freq: int = 50,
        done: int = 0,
        shown: bool = True,
    ) -> None:
        self.total = total
        self.description = description
        self.done = done
        self._report_freq = max(1, report_freq)
        self._start = self._shown = time.monotonic()
        self._start_done = done
        self._values: dict[str, Value] = {}
        self._fresh = False  # whether the newest values are on display
        self._silent = not shown
        self._bar: Any = None
        self._task: Any = None
        if shown and not json_mode and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            self._open_bar()

    def advance(self, steps: int = 1, *, description: str | None = None, **values: Value) -> None:
        """Count `steps` more and show `values` (name -> number or function) when it is time to."""
        self.done += steps
        self._values.update(values)
        self._fresh = False
        if description is not None:
            self.description = description
        if self._silent:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=self.description)
            if time.monotonic() - self._shown >= _REFRESH or self.done >= self.total:
                self._show()
        elif self.done % self._report_freq < steps or self.done >= self.total:
            self._show()

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show the last values and leave the bar as it is; harmless when repeated."""
        if self._bar is not None:
            if not self._fresh and sys.exc_info()[0] is None:
                self._show()
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._bar = Bar(*columns, console=Console(file=sys.stderr), redirect_stdout=False)
        self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, values="")
        self._bar.start()

    def _show(self) -> None:
        self._shown = time.monotonic()
        self._fresh = True
        text = "  ".join(f"{name} {_number(value)}" for name, value in self._values.items())
        if self._bar is not None:
            self._bar.update(self._task, values=text)
            return
        width = len(str(self.total))
        parts = [self.description, f"{self.done:{width}d}/{self.total}", text, self._time_left()]
        self.say("  ".join(part for part in parts if part))

    def _time_left(self) -> str:
        steps = self.done - self._start_done
        if steps <= 0 or self.done >= self.total:
            return ""
        seconds = round((time.monotonic() - self._start) / steps * (self.total - self.done))
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d} left"


def _number(value: Value) -> str:
    return f"{float(value() if callable(value) else value):.4g}"
