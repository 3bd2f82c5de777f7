"""How the command line speaks: one line for whatever the user can do something about."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

from pruning_core.extras import EXTRAS, MissingExtraError


def told(error: Exception, goes_on: str) -> str | None:
    """What the user can do something about, in words; None for what is a fault of this program."""
    from pruning_core.experiments.loop import TrainingError

    if isinstance(error, OSError) and not isinstance(error, ValueError):
        place = error.filename
        if place is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT):
            place = "the standard output"
            silence(sys.stdout)
        text = f"{place}: {error.strerror}" if place is not None else str(error)
        return "; ".join(filter(None, [text, goes_on]))
    if isinstance(error, ValueError | TrainingError | MissingExtraError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        extras = [extra for extra, names in EXTRAS.items() if error.name in names]
        return str(MissingExtraError.of(extras[0], [error.name or ""])) if extras else None
    lacking = ("not enough memory", "can't allocate memory", "out of memory")  # torch's words
    if isinstance(error, MemoryError) or any(words in str(error) for words in lacking):
        return "; ".join(filter(None, ["there is not enough memory for that", goes_on]))
    return None


def make_printable() -> None:
    """No Greek letter, no path and no closed stream is to end a run."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (for good)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(message: str, notes: Iterable[str] = ()) -> None:
    """One line on standard error, and one more for each note, if there is room for them."""
    lines = [f"pruning-core: {message}", *(f"  {note}" for note in notes)]
    text = "\n".join(line.replace("\n", " ") for line in lines)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """What is still to be flushed at exit goes nowhere; a stream without a file has no exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def show_warning(message: Warning | str, *_: object) -> None:
    """In place of Python's own lines, which name a file and a line of this package."""
    say(f"warning: {message}")
