"""The command line of studies and their ledger: ``pruning-core study …``, ``ledger``."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruning_core.extras import need

if TYPE_CHECKING:
    from pruning_core.studies.archive import Archive
    from pruning_core.studies.declaration import Study


def add_study(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``study`` to the program's commands."""
    study = commands.add_parser(
        "study",
        help="run and show what is recorded in results/",
        description="Many runs, declared in studies/NAME.toml and recorded in results/.",
    )
    actions = study.add_subparsers(required=True, metavar="ACTION")

    action = _action(actions, "list", "every study, and how much of it is recorded", _list)
    action = _action(actions, "run", "train what is not recorded yet", _run, named=True)
    action.set_defaults(goes_on="started again, the study goes on where it was")
    action.add_argument(
        "--jobs", type=int, default=-1, metavar="N", help="runs at a time (default: one a core)"
    )
    action.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster that sees the same folder"
    )
    action.add_argument(
        "--again",
        metavar="POINT",
        help="first take the recorded runs of this point out of results/, and train them anew",
    )
    _action(actions, "status", "how far each point is", _status, named=True)
    _action(actions, "show", "mean and 95 %% interval of each point", _show, named=True)


def add_ledger(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``ledger`` to the program's commands."""
    ledger = commands.add_parser(
        "ledger",
        help="every claim, and what the studies say about it",
        description="Decide every claim of studies/claims.toml from results/, and compare with "
        "the published numbers.",
    )
    ledger.set_defaults(run=_ledger)
    ledger.add_argument("--json", action="store_true", help="everything, for programs")
    ledger.add_argument(
        "--verbose", action="store_true", help="every condition of each claim, and its note"
    )
    ledger.add_argument(
        "--source",
        choices=("abstract", "successor", "target", "baseline", "question"),
        help="only the claims that come from there",
    )
    ledger.add_argument(
        "--published",
        action="store_true",
        help="published results beside ours, in place of claims (--json has both)",
    )
    _add_root(ledger)


def _action(
    actions: argparse._SubParsersAction[Any],
    name: str,
    help: str,
    run: Callable[[argparse.Namespace], int],
    *,
    named: bool = False,
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    action.set_defaults(run=run)
    if named:
        action.add_argument("name", metavar="NAME", help="as 'study list' prints it")
    _add_root(action)
    return action


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder of studies/, results/ and runs/ (default: here)",
    )


def _list(options: argparse.Namespace) -> int:
    need("studies")
    from pruning_core.studies.declaration import StudyError

    archive = _archive(options)
    known = archive.names()
    if not known:
        raise StudyError(
            f"no study is declared in {archive.studies.resolve()}; name its parent by --root"
        )
    for name in known:
        study = archive.study(name)
        total, done = len(study.runs), len(archive.table(name))
        print(f"{name:24}{done:5} of {total:4} runs  {study.title}")
    return 0


def _run(options: argparse.Namespace) -> int:
    need("studies")
    if options.scheduler is not None:
        need("cluster")
    from pruning_core.studies import ledger
    from pruning_core.studies.execution import run_study, start_over
    from pruning_core.studies.ledger_text import as_text

    study = _study(options)
    if options.again is not None:
        forgotten = start_over(study, options.root, options.again)
        print(
            f"{options.again}: {forgotten} recorded before, trained again; git has what they found"
        )
    with _signals_interrupt():
        run_study(study, options.root, jobs=options.jobs, scheduler=options.scheduler)
    _show(options)
    claims = ledger.decided(_archive(options), {study.name})
    if claims:
        print(f"\n{as_text(claims, verbose=True)}")
    return 0


def _status(options: argparse.Namespace) -> int:
    study = _study(options)
    done = _archive(options).table(study.name).groupby("point").size()
    total: dict[str, int] = {}
    for run in study.runs:
        total[run.point] = total.get(run.point, 0) + 1
    width = max(map(len, total))
    for point, runs in total.items():
        print(f"{point:{width}}  {done.get(point, 0):4} of {runs:4} runs")
    return 0


def _show(options: argparse.Namespace) -> int:
    need("studies")
    from pruning_core.studies.intervals import interval

    study = _study(options)
    found = _archive(options).table(study.name)
    width = max(len(point) for point in study.points)
    print(f"{study.title}\n{'point':{width}}   n  {'error %':16}{'weights %':16}{'MACs':>10}")
    for point in study.points:
        rows = found[found["point"] == point]
        if not len(rows):
            print(f"{point:{width}}   0  not run")
            continue
        kept = 100 * rows["weights_kept"] / rows["weights_total"]
        print(
            f"{point:{width}}{len(rows):4}  {interval(rows['test_error_percent'], 3):16}"
            f"{interval(kept, 2):16}{rows['macs'].mean():10,.0f}"
        )
    return 0


def _ledger(options: argparse.Namespace) -> int:
    from pruning_core.studies import ledger, published
    from pruning_core.studies.ledger_text import as_text

    if options.published and not options.json:
        print(published.as_text(published.compared(_archive(options))))
        return 0
    abstracts = ledger.abstracts(_archive(options), options.source)
    claims = ledger.decided(_archive(options))
    if options.source is not None:
        claims = [claim for claim in claims if claim["source"] == options.source]
    if options.json:
        found = {"abstracts": abstracts, "claims": claims}
        found["published"] = published.compared(_archive(options))
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return 0
    print(as_text(claims, abstracts, verbose=options.verbose))
    return 0


def _archive(options: argparse.Namespace) -> Archive:
    """The archive at --root, one for a command, so that it reads each file once."""
    if "archive" in options:
        return options.archive
    need("studies")
    from pruning_core.studies.archive import Archive
    from pruning_core.studies.declaration import StudyError

    folder = options.root / "studies"
    if not folder.is_dir():
        raise StudyError(
            f"there is no folder {folder}; name the one that holds studies/ and results/, a copy "
            "of the repository say, by --root"
        )
    options.archive = Archive(options.root)
    return options.archive


def _study(options: argparse.Namespace) -> Study:
    return _archive(options).study(options.name)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let what ends a program from outside do what Ctrl-C does, so that no worker outlives it."""
    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # What was set to be ignored, by nohup say, stays so.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) == signal.SIG_DFL}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
