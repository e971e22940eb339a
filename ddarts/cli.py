"""The command `ddarts`: finds the subcommand, runs it, prints its result, and turns faults into one line.

Exit codes: 0 done, 1 a fault, 2 a wrong request, 75 stopped and saved (start it again), 130 interrupted.
"""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from ddarts import __version__
from ddarts.commands import results
from ddarts.commands.parser import parse
from ddarts.commands.registry import COMMANDS, check_name
from ddarts.config import resolve
from ddarts.runtime.console import log_to_stderr
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.processor import keep_freed_memory, spin_briefly
from ddarts.runtime.ranks.discovery import Place, discover
from ddarts.runtime.signals import stop_at_once

REQUEUE, INTERRUPTED, PIPE = 75, 130, 141
_ON_ALL_RANKS = ("search", "train")
_FROM_DEEPSPEED = "--local_rank="  # its launcher puts that before the command; the environment says it as well
_LONGEST = 300  # characters of a fault that is not ours: a compiler's may fill pages
_SIZES = ("batch_size", "init_channels", "image_size", "num_classes")  # what memory depends on


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's); returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Known before the options are read, so that it also holds for errors in them.
    debug = "--debug" in words
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without α must not stop a run
    log_to_stderr(logging.DEBUG if debug else logging.INFO)
    spin_briefly()
    keep_freed_memory()
    place = Place()
    try:
        place = discover()
        if place.rank:
            log_to_stderr(logging.CRITICAL)  # one rank prints
        code = _dispatch(words, place)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has gone. Python would complain again when it flushes stdout at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE
    except KeyboardInterrupt:
        _say("ddarts: interrupted")
        return INTERRUPTED
    except Exception as error:
        return _fault(error, debug, place)


def _dispatch(words: list[str], place: Place) -> int:
    leading = []
    while words and (words[0] in ("--json", "--debug") or words[0].startswith(_FROM_DEEPSPEED)):
        leading.append(words.pop(0))
    leading = [word for word in leading if not word.startswith(_FROM_DEEPSPEED)]
    if words[0:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"ddarts {__version__}")
        return 0
    name = check_name(words[0])
    command = COMMANDS[name]
    if place.rank and name not in _ON_ALL_RANKS:
        return 0  # the first does it
    given = parse(command.options, leading + words[1:])
    as_json = given.pop("json", False)
    given.pop("debug", None)
    options: Any = resolve(command.options, given, given.pop("config", None))
    try:
        # What libraries print while they work must not stand between the reader and the JSON object.
        with (
            contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(),
            stop_at_once() if name in _ON_ALL_RANKS else contextlib.nullcontext(),
        ):
            result = command.call(options)
    except Exception as error:
        if not _is_memory(error):
            raise
        raise DdartsError(_memory_line(options)) from error
    if not place.rank:
        print(_json(result) if as_json else getattr(results, command.present)(result, options))
    return 0


def overview() -> str:
    """The help of `ddarts` itself."""
    lines = ["usage: ddarts COMMAND [options]", "", "Search for, derive, train and evaluate D-DARTS networks.", ""]
    lines += [f"  {name:<10}{command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "Options of a command: ddarts COMMAND --help. Version: ddarts --version."]
    return "\n".join(lines)


def _json(result: Any) -> str:
    from ddarts.runtime.files import plain

    return json.dumps(plain(result), allow_nan=False)


def _fault(error: Exception, debug: bool, place: Place) -> int:
    """Say what went wrong on one line (after the traceback, with --debug); returns the exit code."""
    who = "ddarts" if place.size == 1 else f"ddarts (rank {place.rank})"
    if debug:
        import traceback

        traceback.print_exception(error)
    if not isinstance(error, DdartsError):
        hint = "" if debug else " (--debug shows where)"
        text = " ".join(str(error).split())
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
        _say(f"{who}: error: {type(error).__name__}: {shown}{hint}")
        return 1
    if error.exit_code != REQUEUE:
        _say(f"{who}: error: {error}")
    elif not place.rank:  # all ranks stopped alike
        _say(f"ddarts: {error}")
    return error.exit_code


def _is_memory(error: Exception) -> bool:
    """Whether the memory of the machine or of the GPU is used up. torch is not imported to tell."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _memory_line(options: Any) -> str:
    sizes = [f"--{name} {getattr(options, name)}" for name in _SIZES if getattr(options, name, None) is not None]
    if not sizes:
        return "not enough memory"
    *others, last = sizes
    used = f"{', '.join(others)} and {last}" if others else last
    return f"not enough memory for {used}: lower {'one of them' if others else 'it'}"


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(" ".join(text.split()), file=sys.stderr, flush=True)
