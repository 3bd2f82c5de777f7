"""Settings as flags of the command line: declared, read, and written again."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pruning_core.experiments.kinds import Choice, Kind, Number, Several, Switch, Whole
from pruning_core.experiments.settings import (
    KINDS,
    MEANINGS,
    METHOD_NAMES,
    READERS,
    Settings,
    recommended,
)
from pruning_core.models import MODELS

_METAVARS = {Whole: "N", Number: "X", Choice: "NAME", Several: "X[,X…]"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the model and a flag for every setting; those that are not given are None.

    The help of one that only some methods read names them.
    """
    parser.add_argument("model", metavar="MODEL", help=" or ".join(MODELS))
    parser.add_argument("--method", default="bernoulli", help=", ".join(METHOD_NAMES))
    for name, kind in KINDS.items():
        if name in ("model", "method"):
            continue
        help_text = _help(name, kind).replace("%", "%%")
        if isinstance(kind, Switch):
            action = argparse.BooleanOptionalAction
            parser.add_argument(_flag(name), action=action, default=None, help=help_text)
        else:
            metavar = _METAVARS[type(kind)]
            parser.add_argument(_flag(name), type=_parser(kind), metavar=metavar, help=help_text)


def from_flags(options: argparse.Namespace) -> Settings:
    """The settings that flags of :func:`add_flags` give; the others are those recommended.

    Raises:
        ValueError: naming a setting that is out of range, or that the method does not read.
    """
    given = {name: getattr(options, name) for name in KINDS if name not in ("model", "method")}
    changes = {name: value for name, value in given.items() if value is not None}
    return recommended(options.model, options.method, **changes)


def as_flags(settings: Settings) -> list[str]:
    """Words of which :func:`from_flags` makes the same settings, as far as the method reads them.

    Only what differs from the recommended settings is told, with all its digits.
    """
    words = [settings.model, "--method", settings.method]
    given: dict[str, Any] = {}
    for name, kind in KINDS.items():
        if name in ("model", "method", "seed"):
            continue
        value = getattr(settings, name)
        # What is given moves what is recommended for the rest: epochs, the phases within them.
        usual = recommended(settings.model, settings.method, **given)
        if settings.method not in READERS.get(name, METHOD_NAMES) or value == getattr(usual, name):
            continue
        given[name] = value
        if isinstance(kind, Switch):
            words.append(_flag(name) if value else _flag(name).replace("--", "--no-", 1))
        else:
            words += [_flag(name), kind.write(value)]
    return [*words, "--seed", str(settings.seed)]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _help(name: str, kind: Kind) -> str:
    names = f"{', '.join(kind.names)}: " if isinstance(kind, Choice) else ""
    readers = f" ({', '.join(READERS[name])})" if name in READERS else ""
    return f"{names}{MEANINGS[name]}{readers}"


def _parser(kind: Kind) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse
