"""A command's options from its dataclass, through argparse.

Why not tyro: a wrong value must be one line (tyro prints a panel of many), the order default < preset < file <
command line needs to know which options were given (tyro returns the filled-in dataclass), and both spellings,
--batch_size and --batch-size, must work for every option. Texts become values in `ddarts.config.values`, so that the
command line and YAML files have the same rules and the same messages.
"""

import argparse
import difflib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ddarts.config.options import Spec, specs
from ddarts.config.presets import BASELINE_PRESETS, PRESETS, Preset
from ddarts.config.values import shown
from ddarts.runtime.errors import UsageError

_METAVARS = {int: "N", float: "X", str: "TEXT"}
_CHOICE = "NAME"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        text = message.replace("argument ", "", 1) if message.startswith("argument ") else message
        raise UsageError(" ".join(text.split()))


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=30, width=min(shutil.get_terminal_size().columns, 120) - 2)


def make_parser(cls: type) -> argparse.ArgumentParser:
    """The parser for a configuration class. Its values are texts, or True and False; only what was given is there."""
    prog = f"ddarts {cls.command}"  # type: ignore[attr-defined]
    words = [f" [{spec.flag}]" for spec in specs(cls).values() if spec.option.positional]
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [options]{''.join(words)}",
        description=cls.__doc__,
        epilog=f"Options may be written with dashes too. {_presets(cls.command)}",  # type: ignore[attr-defined]
        formatter_class=_formatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for spec in specs(cls).values():
        _add(parser, spec)
    common = parser.add_argument_group("for every command")
    if specs(cls):
        common.add_argument("--config", metavar="FILE.yaml", help="options from a file; the command line overrides it")
    common.add_argument("--json", action="store_true", help="print the result as one JSON object on stdout")
    common.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def _add(parser: argparse.ArgumentParser, spec: Spec) -> None:
    flags = [f"--{name}" for name in (spec.name, *spec.option.aliases)]
    text = f"{spec.option.help}{_details(spec)}".replace("%", "%%")
    if spec.option.positional:
        parser.add_argument(spec.name, metavar=spec.flag, nargs="?", help=text)
    elif spec.kind is bool:
        parser.add_argument(*flags, action="store_true", help=argparse.SUPPRESS if spec.default else text)
        parser.add_argument(
            f"--{negation(spec.name)}",
            dest=spec.name,
            action="store_false",
            help=f"not: {text}" if spec.default else argparse.SUPPRESS,
        )
    elif spec.option.bare:
        parser.add_argument(*flags, dest=spec.name, metavar="TEXT", nargs="?", const=spec.option.bare, help=text)
    else:
        metavar = _CHOICE if spec.option.choices else _METAVARS[spec.kind]
        parser.add_argument(*flags, dest=spec.name, metavar=metavar, nargs="+" if spec.many else None, help=text)


def negation(name: str) -> str:
    """The opposite of a switch: amp -> no_amp, no_arch_metric -> arch_metric."""
    return name.removeprefix("no_") if name.startswith("no_") else f"no_{name}"


def _details(spec: Spec) -> str:
    parts = []
    if spec.option.choices:
        later = spec.option.unavailable
        parts.append(", ".join(f"{c} (not in this version)" if c in later else c for c in spec.option.choices))
    if "*" in spec.option.unavailable:
        parts.append("not in this version")
    if spec.kind is not bool and spec.default is not None:
        parts.append(f"default {spec.default}")
    return f" [{'; '.join(parts)}]" if parts else ""


def _presets(command: str) -> str:
    """What the data sets change about the defaults, as a sentence each."""
    found = {f"--dataset {dataset}": values for (owner, dataset), values in PRESETS.items() if owner == command}
    if command == "search":
        found |= {f"--dataset {dataset} --arch_baseline": values for dataset, values in BASELINE_PRESETS.items()}
    return " ".join(f"Defaults that {options} changes: {_changes(values)}." for options, values in found.items())


def _changes(values: Preset) -> str:
    return ", ".join(f"{name} {value}" for name, value in values().items())


def parse(cls: type, arguments: Sequence[str]) -> dict[str, Any]:
    """The options given in `arguments`, by name, and config, json, debug. Raises UsageError; SystemExit for help."""
    parser = make_parser(cls)
    switches = {flag: action.nargs == 0 for action in parser._actions for flag in action.option_strings}
    given, rest = parser.parse_known_args(list(_spelled(arguments, switches, parser.prog)))
    if rest:
        raise UsageError(f"unexpected {shown(rest[0])}: see {parser.prog} --help")
    return vars(given)


def _spelled(arguments: Sequence[str], known: Mapping[str, bool], prog: str) -> Iterator[str]:
    """The arguments with underscores in options, and `--option=-1` for `--option -1`, which argparse would refuse.

    `known` says for every option whether it is a switch, which takes no value.
    """
    waiting = ""  # an option whose value may come next
    for argument in arguments:
        if waiting and _is_number(argument):
            yield f"{waiting}={argument}"
            waiting = ""
            continue
        if waiting:
            yield waiting
            waiting = ""
        if not argument.startswith("--") or argument == "--":
            yield argument
            continue
        name, equals, value = argument.partition("=")
        flag = f"--{name[2:].replace('-', '_')}"
        if flag not in known:
            close = difflib.get_close_matches(flag, known, 1)
            raise UsageError(
                f"unknown option {shown(name)}: {f'did you mean {close[0]}?' if close else f'see {prog} --help'}"
            )
        if equals and known[flag]:
            opposite = f"--{negation(flag[2:])}"
            instead = f"{flag} or {opposite}" if opposite in known else flag
            raise UsageError(f"{shown(argument)}: {flag} takes no value; write {instead}")
        if equals:
            yield f"{flag}={value}"
        else:
            waiting = flag
    if waiting:
        yield waiting


def _is_number(text: str) -> bool:
    try:
        return text.startswith("-") and float(text) < float("inf")
    except ValueError:
        return False
