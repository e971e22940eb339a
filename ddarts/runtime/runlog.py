"""What a run writes down: metrics.jsonl (the truth), TensorBoard events and log.txt. [light]"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from ddarts.runtime import files
from ddarts.runtime.errors import DdartsError

_log = logging.getLogger(__name__)


class Messages:
    """A file that gets every message of the `ddarts` loggers while it is open."""

    def __init__(self, path: Path) -> None:
        try:
            self._handler = logging.FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise DdartsError(f"{path.parent}: the run's log cannot be opened ({error.strerror})") from error
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._logger = logging.getLogger("ddarts")
        self._logger.addHandler(self._handler)
        if self._logger.level == logging.NOTSET:
            self._logger.setLevel(logging.INFO)

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self._logger.removeHandler(self._handler)
        self._handler.close()


class RankLog:
    """What a rank beside the first writes down: its messages, in log-rank1.txt and so on. Rows are the first's."""

    rows = 0

    def __init__(self, run_dir: str | os.PathLike[str], rank: int) -> None:
        self._messages = Messages(Path(run_dir) / f"log-rank{rank}.txt")

    def row(self, kind: str, step: int, epoch: int, **scalars: Any) -> None:
        """Nothing: the first rank writes it."""

    def close(self) -> None:
        """Close the file."""
        self._messages.close()

    def __enter__(self) -> "RankLog":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class RunLog:
    """The log of one run, written by one process; a context manager.

    metrics.jsonl has one JSON object a line, always with `kind`, `step` and `epoch`. Where a run continues from a
    checkpoint, the rows that were written after it are dropped first, so that nothing appears twice: those of steps
    after `resume_step`, and those beyond the first `resume_rows`. `rows` counts what is there. Messages of the `ddarts`
    loggers go to log.txt.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        *,
        resume_step: int | None = None,
        resume_rows: int | None = None,
        tensorboard: bool = True,
    ):
        self.run_dir = Path(run_dir)
        self.rows = 0
        self._purge_step = None if resume_step is None else resume_step + 1
        self._tensorboard = tensorboard
        self._writer: Any = None
        path = self.run_dir / "metrics.jsonl"
        try:
            if resume_step is not None and path.exists():
                self.rows = _drop_after(path, resume_step, resume_rows)
            self._rows = open(path, "a", encoding="utf-8")  # noqa: SIM115 (held open for the run)
        except OSError as error:
            raise DdartsError(f"{self.run_dir}: the run's log cannot be opened ({error.strerror})") from error
        self._messages = Messages(self.run_dir / "log.txt")

    def row(self, kind: str, step: int, epoch: int, **scalars: Any) -> None:
        """Append one row and flush it. Values: numbers, strings, bools, None, and nested lists, arrays or tensors.

        Numbers also go to TensorBoard as `kind/name`. NaN and infinities are the strings "nan", "inf", "-inf".
        A tensor makes the host wait for its device. Raises DdartsError when the disk refuses.
        """
        values = {name: files.plain(value) for name, value in scalars.items()}
        line = json.dumps({"kind": kind, "step": step, "epoch": epoch, **values}, allow_nan=False)
        try:
            self._rows.write(line + "\n")
            self._rows.flush()
            self.rows += 1
        except OSError as error:
            raise DdartsError(f"{self._rows.name}: not written ({error.strerror})") from error
        if self._tensorboard:
            self._write_scalars(kind, step, values)

    def close(self) -> None:
        """Close the files and take the handler off the logger; harmless when repeated."""
        self._rows.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._tensorboard = False
        self._messages.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _write_scalars(self, kind: str, step: int, values: dict[str, Any]) -> None:
        numbers = {name: _number(value) for name, value in values.items()}
        numbers = {name: number for name, number in numbers.items() if number is not None}
        if numbers and self._writer is None:
            self._open_writer()
        if self._writer is None:
            return
        for name, number in numbers.items():
            self._writer.add_scalar(f"{kind}/{name}", number, step)

    def _open_writer(self) -> None:
        try:
            # Imported late: it brings torch with it, and a run works without TensorBoard.
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._tensorboard = False
            _log.info("TensorBoard is not installed; metrics.jsonl holds everything (pip install tensorboard)")
            return
        self._writer = SummaryWriter(str(self.run_dir), purge_step=self._purge_step, flush_secs=30)


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, int, float)):
        return float(value)
    return float(value) if value in ("nan", "inf", "-inf") else None


def _drop_after(path: Path, last_step: int, last_row: int | None) -> int:
    """Keep the first `last_row` rows (None: all) of steps up to `last_step`; returns how many those are.

    A line cut short by a kill can only be the last one; it goes too.
    """
    kept: list[bytes] = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                within = last_row is None or len(kept) < last_row
                if within and row["step"] <= last_step and line.endswith(b"\n"):
                    kept.append(line)
            except (ValueError, TypeError, KeyError):
                _log.warning("%s: line %d is not a row; dropped", path, number)
    files.atomic_write_bytes(path, b"".join(kept))
    return len(kept)
