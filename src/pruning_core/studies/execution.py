"""Run what a study still lacks: on this machine's cores, or on a Dask cluster."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from pruning_core.experiments.checkpoint import CHECKPOINT_FILE
from pruning_core.experiments.data import Dataset, load
from pruning_core.experiments.runs import SUMMARY_FILE, TRAJECTORY_FILE, train
from pruning_core.files import make_writable
from pruning_core.studies.declaration import Run, Study, StudyError
from pruning_core.studies.records import adopt, forget, record, table

Finding = tuple[str, dict[str, Any], list[dict[str, Any]]]
"""Key, summary and trajectory of a finished run."""

BYTES_PER_RUN = 20_000_000
"""Room that the checkpoint and the model of a run may take, generously."""


def run_study(
    study: Study,
    root: Path,
    *,
    jobs: int = -1,
    scheduler: str | None = None,
) -> None:
    """Train every run that ``results/`` does not hold yet, and record it there when it ends.

    What another study has recorded is taken over from there.

    A run works in ``runs/KEY``, with a lock that the operating system frees if its process dies:
    the next one resumes from the checkpoint. Runs that another process works on are waited for.

    Args:
        study: what to run.
        root: the folder of ``runs/`` and ``results/``.
        jobs: processes at a time, with one thread each; −1 for one a core.
        scheduler: address of a Dask scheduler, whose workers see the same folder, in place of
            this machine's cores.

    Raises:
        StudyError: before anything starts, if a folder cannot be written, the disk is too full,
            or no scheduler answers.
        TrainingError: of a run that failed; the finished ones are recorded.
    """
    root = root.resolve()
    missing = unfinished(study, root)
    _check_room(root, len(missing))
    with _recording(study, root):
        adopt(study, root / "results")
    missing = unfinished(study, root)
    total = _epochs(study.runs)
    done = total - _epochs(missing)
    quiet = not sys.stderr.isatty()
    with tqdm(total=total, initial=done, unit="epoch", disable=quiet) as bar:
        while missing:
            lengths = {run.key: run.settings.epochs for run in missing}
            for finding in _findings(missing, root, jobs, scheduler):
                if finding is not None:
                    _keep(study, root, finding)
                    bar.update(lengths[finding[0]])
            missing = unfinished(study, root)
            if missing:
                # Another process is at them.
                time.sleep(1)


def start_over(study: Study, root: Path, point: str) -> int:
    """Forget the runs of a point, so that :func:`run_study` trains them anew.

    Returns:
        How many were recorded.

    Raises:
        StudyError: if the study has no such point, or a folder cannot be written.
    """
    _check_room(root, 0)
    with _recording(study, root):
        forgotten = forget(study, root / "results", point)
    for run in study.runs:
        if run.point == point:
            shutil.rmtree(root / "runs" / run.key, ignore_errors=True)
    return forgotten


def unfinished(study: Study, root: Path) -> list[Run]:
    """Runs that ``results/`` does not hold: one seed of every point before the next."""
    recorded = set(table(study, root / "results")["run"])
    missing = (run for run in study.runs if run.key not in recorded)
    return sorted(missing, key=lambda run: run.settings.seed)


def execute(run: Run, folder: Path) -> Finding | None:
    """Train one run in ``folder``/KEY, or read it if it is finished; None if it is locked."""
    place = folder / run.key
    with _locked(folder / f"{run.key}.lock", wait=False) as mine:
        if not mine:
            return None
        if not (place / SUMMARY_FILE).exists():
            torch.set_num_threads(1)
            train(run.settings, _dataset(run.dataset, run.split), place, resume=True)
        (place / CHECKPOINT_FILE).unlink(missing_ok=True)
        summary, trajectory = (
            json.loads((place / name).read_text(encoding="utf-8"))
            for name in (SUMMARY_FILE, TRAJECTORY_FILE)
        )
    return run.key, summary, trajectory


def _epochs(runs: Iterable[Run]) -> int:
    return sum(run.settings.epochs for run in runs)


def _findings(
    runs: Sequence[Run], root: Path, jobs: int, scheduler: str | None
) -> Iterator[Finding | None]:
    """Of each run, as soon as it ends."""
    folder = root / "runs"
    if scheduler is None:
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
        try:
            yield from parallel(delayed(execute)(run, folder) for run in runs)
        except TerminatedWorkerError as error:
            raise StudyError(
                "the system killed a worker, most likely for want of memory; start the study "
                "again with fewer --jobs, and it goes on where it was"
            ) from error
        return
    from distributed import Client, as_completed

    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise StudyError(f"no Dask scheduler answers at {scheduler} ({error})") from error
    with client:
        # A run is tried again where its worker has died, from its checkpoint.
        futures = client.map(execute, runs, folder=folder, pure=False, retries=3)
        for future in as_completed(futures):
            yield future.result()


def _keep(study: Study, root: Path, finding: Finding) -> None:
    key, summary, trajectory = finding
    with _recording(study, root):
        record(study, root / "results", {key: (summary, trajectory)})


def _recording(study: Study, root: Path) -> AbstractContextManager[bool]:
    """One process at a time writes the files of a study."""
    return _locked(root / "runs" / f"{study.name}.lock", wait=True)


@lru_cache(maxsize=2)
def _dataset(name: str, split: str) -> Dataset:
    """Loaded once in each process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = Path(name) if Path(name).is_absolute() else None
    return load(None if folder else name, folder, split=split, device=device)  # type: ignore[arg-type]


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock that other processes respect, and that ends with this process; False if taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield _taken(descriptor, wait)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _check_room(root: Path, runs: int) -> None:
    for folder in (root / "runs", root / "results"):
        try:
            make_writable(folder)
        except OSError as error:
            raise StudyError(
                f"cannot write to {folder}: {error.strerror}; make room, or choose another --root"
            ) from error
    free = shutil.disk_usage(root).free
    if free < runs * BYTES_PER_RUN:
        raise StudyError(
            f"{free / 1e9:.1f} GB are free in {root}; {runs} runs may need "
            f"{runs * BYTES_PER_RUN / 1e9:.1f} GB: make room, or choose another --root"
        )
