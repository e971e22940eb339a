"""Stopping on request: a signal sets a flag, the engine sees it at the next step's edge and saves. [light]"""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ddarts.runtime.errors import DdartsError

_NAMES = ("SIGTERM", "SIGUSR1", "SIGINT")


class Requeue(DdartsError):  # noqa: N818 (a request, not an error)
    """The run stopped on request after saving; exit code 75 (EX_TEMPFAIL) asks the scheduler to start it again."""

    exit_code = 75

    @classmethod
    def of_run(cls, command: str, run_dir: str | os.PathLike[str], signal_name: str, step: int) -> "Requeue":
        """A run that stopped at a step's edge."""
        resume = f"ddarts {command} --resume {shlex.quote(os.fspath(run_dir))}"
        return cls(f"stopped by {signal_name} after step {step}, checkpoint saved; continue with: {resume}")


class StopRequest:
    """Context manager: SIGTERM, SIGUSR1 and SIGINT set `requested`; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.requested = False
        self.signal_name: str | None = None
        self._interrupts = 0
        self._handled = _handled_by(self._handle, _NAMES)

    def __enter__(self) -> "StopRequest":
        self._handled.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._handled.__exit__(*exception)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.requested = True
        self.signal_name = self.signal_name or signal.Signals(number).name
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt


@contextmanager
def stop_at_once() -> Iterator[None]:
    """While a run is prepared and there is nothing to save, SIGTERM and SIGUSR1 end the process at once, with the
    code that asks for a requeue. A StopRequest takes over from it."""

    def end(number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        print(f"ddarts: stopped by {name} while no step was running; start it again", file=sys.stderr, flush=True)
        raise SystemExit(Requeue.exit_code)

    with _handled_by(end, _NAMES[:2]):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None], names: Sequence[str]) -> Iterator[None]:
    """Handlers from before come back on leaving. Outside the main thread Python allows none, so nothing is done."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]  # Windows: no USR1
        before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handled in before.items():
            # None: set by C code, which Python cannot put back; the default is the nearest.
            signal.signal(number, signal.SIG_DFL if handled is None else handled)
