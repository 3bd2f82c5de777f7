"""Studies that are no runs of one loop: each has its own table, and a command that fills it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from pruning_core.studies.declaration import StudyError
from pruning_core.studies.record_files import damaged, not_numbers


def read(path: Path, texts: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """The table in a file; empty if there is no such file.

    Args:
        path: of the file.
        texts: its columns of text.
        numbers: its columns of finite numbers.

    Raises:
        StudyError: if it is damaged.
    """
    if not path.exists():
        return pd.DataFrame(columns=[*texts, *numbers])
    try:
        rows = pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False)
        if missing := {*texts, *numbers} - set(rows.columns):
            raise ValueError(f"the columns {', '.join(sorted(missing))} are missing")
        if bad := [c for c in numbers if not_numbers(pd.Series(rows[c]), needed=True).any()]:
            raise ValueError(f"{', '.join(bad)}: a number was expected in each row")
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    return rows


def run(
    description: str,
    file: str,
    completed: Callable[..., pd.DataFrame],
    tell: Callable[[pd.DataFrame], str],
    arguments: Sequence[str] | None = None,
    *,
    jobs: bool = False,
) -> int:
    """The command of such a study: compute what its table lacks, and tell what is in it.

    Args:
        description: of the command, for its help.
        file: the table's, within the folder that ``--root`` names.
        completed: makes the table of that file, with what it lacked; of the path, and of the
            number of jobs if it takes one.
        tell: what is printed of it.
        arguments: of the command line; those of the process by default.
        jobs: whether ``--jobs`` may be given.

    Returns:
        The exit code, 2 if the table is damaged.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--root", type=Path, default=Path(), help="folder of results/ (default: here)"
    )
    if jobs:
        parser.add_argument(
            "--jobs", type=int, default=-1, help="processes at a time (default: one a core)"
        )
    asked = parser.parse_args(arguments)
    path = asked.root / file
    try:
        rows = completed(path, asked.jobs) if jobs else completed(path)
    except StudyError as error:
        print(error, file=sys.stderr)
        return 2
    print(tell(rows))
    return 0
