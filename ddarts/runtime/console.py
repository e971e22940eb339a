"""Messages of the `ddarts` loggers on stderr. [light]"""

import logging
import sys


class _Plain(logging.Formatter):
    """Information as it is; warnings and errors with their level before them."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Looks stderr up at each message, since a progress bar puts its own in place while it runs."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self):  # type: ignore[no-untyped-def]
        return sys.stderr


def log_to_stderr(level: int = logging.INFO) -> None:
    """Show messages from `level` up, above a progress bar where there is one; calling it again changes the level."""
    logger = logging.getLogger("ddarts")
    handler = next((found for found in logger.handlers if isinstance(found, _Stderr)), None)
    if handler is None:
        handler = _Stderr()
        handler.setFormatter(_Plain("%(message)s"))
        logger.addHandler(handler)
    handler.setLevel(level)
    logger.setLevel(min(level, logging.INFO))
